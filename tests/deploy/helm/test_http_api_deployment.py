"""templates/http-api-deployment.yaml and -config.yaml: the HTTP API, its command run for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bertqa_serve.engine.server import LocalServer
from bertqa_serve.http_api import read_tracks
from tests.deploy.helm.proxy import Proxy, mount_secret, running_proxy
from tests.support.chart import Manifest, Rendering, container, render
from tests.support.http_api import HUGGING_FACE
from tests.support.ports import free_port

NAME = "bert-qa-http-api"


def pod(scenario: str = "pvc", values: dict[str, Any] | None = None) -> Manifest:
    found: Manifest = render(scenario, values).one("Deployment", NAME)["spec"]["template"]["spec"]
    return found


def flags(scenario: str = "pvc", values: dict[str, Any] | None = None) -> set[str]:
    return set(container(pod(scenario, values), "http-api")["args"])


def followed(rendering: Rendering) -> list[Manifest]:
    text = rendering.one("ConfigMap", NAME)["data"]["tracks.json"]
    tracks: list[Manifest] = json.loads(text)["tracks"]
    return tracks


def test_it_splits_between_the_services_of_the_tracks_by_their_weights() -> None:
    rendering = render("tracks", {"tracks": {"newest": {"version": "latest", "weight": 0}}})
    assert followed(rendering) == [
        {"url": "dns:///bert-qa-candidate-pods.ml.svc:9000", "version": 2, "weight": 10},
        {"url": "dns:///bert-qa-newest-pods.ml.svc:9000", "weight": 0},
        {"url": "dns:///bert-qa-stable-pods.ml.svc:9000", "version": 1, "weight": 90},
    ]


@pytest.mark.parametrize("scenario", ["pvc", "tls", "rollouts", "kserve", "kserve-standard"])
def test_what_it_asks_has_a_name_that_one_entry_of_no_proxy_covers(scenario: str) -> None:
    tracks = followed(render(scenario))
    addresses = [one[key] for one in tracks for key in ("url", "metadata_url") if key in one]
    for address in addresses:
        assert address.rpartition("/")[2].partition(":")[0].endswith(".ml.svc"), address


@pytest.mark.parametrize("scenario", ["pvc", "tracks", "tls", "rollouts", "kserve", "training"])
def test_what_it_follows_is_what_the_command_reads(scenario: str, tmp_path: Path) -> None:
    file = tmp_path / "tracks.json"
    file.write_text(render(scenario).one("ConfigMap", NAME)["data"]["tracks.json"])
    assert sum(read_tracks(file).shares().values()) == 100


def test_weights_and_further_tracks_replace_none_of_its_pods() -> None:
    before = render("tracks")
    tracks = {"stable": {"weight": 0}, "candidate": None, "v3": {"version": 3, "weight": 100}}
    after = render("tracks", {"tracks": tracks})
    assert before.one("Deployment", NAME) == after.one("Deployment", NAME)
    assert followed(before) != followed(after)


def test_under_argo_rollouts_it_asks_what_has_been_promoted() -> None:
    rendering = render("rollouts")
    assert followed(rendering) == [
        {"url": "dns:///bert-qa-headless.ml.svc:9000", "weight": 100},
    ]
    selector = rendering.one("Service", "bert-qa-headless")["spec"]["selector"]
    assert selector["bert-qa/role"] == "stable"


def test_it_trusts_the_servers_by_the_name_that_their_certificate_has() -> None:
    assert followed(render("tls"))[0]["url"].startswith("dnss:///")
    assert flags("tls") >= {"--ca=/tls/server/ca.crt", "--server-name=bert-qa.ml.svc"}
    names = render("tls").one("Certificate")["spec"]["dnsNames"]
    assert "bert-qa.ml.svc" in names
    assert flags("mutual-tls") >= {"--certificate=/tls/client/tls.crt", "--key=/tls/client/tls.key"}
    secrets = {
        one["name"]: one["secret"] for one in pod("mutual-tls")["volumes"] if "secret" in one
    }
    assert secrets["certificate"]["secretName"] == "http-api-certificate"
    assert secrets["authority"]["secretName"] == "server-certificate"
    assert secrets["authority"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    mounts = {
        one["mountPath"]: one["name"]
        for one in container(pod("mutual-tls"), "http-api")["volumeMounts"]
    }
    assert mounts.items() >= {"/tls/client": "certificate", "/tls/server": "authority"}.items()


def test_the_values_are_its_options() -> None:
    values = {
        "httpApi": {
            "image": "r.example/client:7",
            "workers": 3,
            "queue": 9,
            "bodyLimitMegabytes": 2,
            "tokenBudget": 4096,
            "corsOrigins": ["https://a.example", "*"],
            "token": {"secretName": "answers", "key": "bearer"},
            "logLevel": "WARNING",
            "resources": {"limits": {"cpu": "3"}},
        },
        "model": {"others": ["customer-1", "customer-2", "customer-1", "bert-qa"]},
        "server": {"requestTimeoutSeconds": 12},
        "imagePullSecrets": [{"name": "mine"}],
    }
    assert flags("pvc", values) >= {
        "--workers=3",
        "--queue=9",
        "--body-limit=2",
        "--token-budget=4096",
        "--models=customer-1",
        "--models=customer-2",
        "--cors-origin=https://a.example",
        "--cors-origin=*",
        "--api-token-file=/token/token",
        "--http-log-level=WARNING",
        "--timeout=12s",
        "--drain=12s",
    }
    found = pod("pvc", values)
    api = container(found, "http-api")
    named = [each for each in api["args"] if each.startswith("--models=")]
    assert named == ["--models=customer-1", "--models=customer-2"]
    assert api["image"] == "r.example/client:7"
    assert api["resources"]["limits"]["cpu"] == "3"
    assert found["imagePullSecrets"] == [{"name": "mine"}]
    (token,) = [one["secret"] for one in found["volumes"] if one["name"] == "token"]
    assert token["items"] == [{"key": "bearer", "path": "token"}]


def test_its_image_is_that_of_the_test_unless_it_has_one_of_its_own() -> None:
    values = {"test": {"image": "r.example/client:1"}}
    assert container(pod("pvc", values), "http-api")["image"] == "r.example/client:1"


def test_it_leaves_its_services_and_answers_what_is_in_flight_before_it_ends() -> None:
    found = pod("pvc", {"server": {"requestTimeoutSeconds": 12}})
    api = container(found, "http-api")
    pause = int(api["lifecycle"]["preStop"]["exec"]["command"][1])
    assert found["terminationGracePeriodSeconds"] > pause + 12
    rolling = render().one("Deployment", NAME)["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_it_is_ready_when_the_model_is_and_restarted_only_where_it_hangs_itself() -> None:
    api = container(pod(), "http-api")
    paths = {
        probe: api[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "readiness", "liveness")
    }
    assert paths == {
        "startup": "/health/live",
        "readiness": "/health/ready",
        "liveness": "/health/live",
    }


def test_an_autoscaler_sets_its_pods() -> None:
    assert (
        render(values={"httpApi": {"replicas": 3}}).one("Deployment", NAME)["spec"]["replicas"] == 3
    )
    scaled = render(values={"httpApi": {"autoscaling": {"enabled": True}}})
    assert "replicas" not in scaled.one("Deployment", NAME)["spec"]


def test_without_it_nothing_of_it_is_there() -> None:
    for scenario in ("monitoring", "tracks", "kserve", "mutual-tls"):
        values = {"httpApi": {"enabled": False, "clientSecretName": ""}}
        assert "http-api" not in render(scenario, values).text.lower(), scenario


@contextmanager
def running(command: Sequence[str], directory: Path) -> Iterator[str]:
    """Run a pod's command on this machine's ports and files, until it answers."""
    port = free_port()
    replaced = {
        "--http-host=0.0.0.0": "--http-host=127.0.0.1",
        "--http-port=8080": f"--http-port={port}",
        "/etc/bert-qa/": f"{directory}/",
        "/token/": f"{directory}/",
        "/tls/": f"{directory}/tls/",
        "=bert-qa.ml.svc": "=localhost",
    }
    words = list(command)
    for old, new in replaced.items():
        words = [word.replace(old, new) for word in words]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(words, env={**os.environ, "PATH": programs}) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url, timeout=10) as http:
                while not _is_ready(http):
                    assert process.poll() is None
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def write_tracks(rendering: Rendering, proxy: Proxy, file: Path, *, rest: str = "rest") -> None:
    """Write what the chart has it follow, with the proxy in the place of each server."""
    tracks = followed(rendering)
    for track in tracks:
        scheme = track["url"].partition("://")[0]
        slash = "/" if scheme.startswith("dns") else ""
        track["url"] = f"{scheme}://{slash}localhost:{proxy.ports['grpc']}"
        secure = "s" if scheme == "dnss" else ""
        track["metadata_url"] = f"http{secure}://localhost:{proxy.ports[rest]}"
    file.write_text(json.dumps({"tracks": tracks}), encoding="utf-8")


def test_its_command_answers_behind_the_proxy_with_a_token(
    engine: LocalServer, tmp_path: Path
) -> None:
    rendering = render(values={"httpApi": {"token": {"secretName": "answers"}}})
    api = container(rendering.one("Deployment", NAME)["spec"]["template"]["spec"], "http-api")
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    with running_proxy("pvc", engine, tmp_path) as proxy:
        write_tracks(rendering, proxy, tmp_path / "tracks.json")
        with running([*api["command"], *api["args"]], tmp_path) as url:
            assert httpx.post(url, json=HUGGING_FACE).status_code == 401
            headers = {"authorization": "Bearer secret"}
            answered = httpx.post(url, json=HUGGING_FACE, headers=headers, timeout=60)
            assert answered.headers["x-model-version"] == "1"
            shown = httpx.get(f"{url}/v1/versions", headers=headers, timeout=60).json()
            assert shown["split"] == {"1": 100}


@pytest.mark.thorough
def test_its_command_shows_its_certificate_to_servers_that_want_one(
    engine: LocalServer, tmp_path: Path
) -> None:
    rendering = render("mutual-tls")
    api = container(rendering.one("Deployment", NAME)["spec"]["template"]["spec"], "http-api")
    with running_proxy("mutual-tls", engine, tmp_path) as proxy:
        authority = proxy.authority.certificate.read_bytes()
        mount_secret(tmp_path / "tls" / "server", {"ca.crt": authority})
        mount_secret(tmp_path / "tls" / "client", proxy.authority.issue("client"))
        write_tracks(rendering, proxy, tmp_path / "tracks.json")
        with running([*api["command"], *api["args"]], tmp_path) as url:
            answered = httpx.post(url, json=HUGGING_FACE, timeout=60)
            assert answered.headers["x-model-version"] == "1"


@pytest.mark.thorough
def test_under_kserve_its_command_answers_over_the_one_port_of_the_predictor(
    engine: LocalServer, tmp_path: Path
) -> None:
    """KServe appends arguments, and routes gRPC and what describes the model to one port."""
    rendering = render("kserve")
    found = rendering.one("InferenceService")["spec"]["transformer"]["containers"][0]
    appended = ["--model_name", "bert-qa", "--predictor_host", "a.ml", "--http_port", "8080"]
    with running_proxy("kserve", engine, tmp_path) as proxy:
        write_tracks(rendering, proxy, tmp_path / "tracks.json", rest="grpc")
        with running([*found["command"], *appended], tmp_path) as url:
            answered = httpx.post(url, json=HUGGING_FACE, timeout=60)
            assert answered.headers["x-model-version"] == "1"
