"""templates/tests/ask.yaml: the pod of `helm test`, its command run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bertqa import TLS, QAClient
from bertqa_serve.engine.server import LocalServer
from bertqa_serve.http_api import HttpApiOptions
from tests.deploy.helm.proxy import Proxy, mount_secret, running_proxy
from tests.support.chart import Manifest, container, render
from tests.support.http_api import serving


def asking(scenario: str, values: dict[str, Any] | None = None) -> Manifest:
    return container(render(scenario, values).one("Pod")["spec"], "ask")


@contextmanager
def http_api(proxy: Proxy, directory: Path, **settings: Any) -> Iterator[str]:
    """Serve the HTTP API in front of the proxy, as the chart does."""
    at = {"url": f"localhost:{proxy.ports['grpc']}"}
    at["metadata_url"] = f"http://localhost:{proxy.ports['rest']}"
    file = directory / "tracks.json"
    file.write_text(json.dumps({"tracks": [{**at, "version": 1, "weight": 100}]}))
    with serving(HttpApiOptions(client={}, tracks=file, **settings)) as url:
        yield url


def run(
    ask: Manifest, proxy: Proxy, directory: Path, http_url: str = "", pods: str = "localhost"
) -> subprocess.CompletedProcess[str]:
    """Run the pod's command with its variables, on this machine's address and files."""
    environment = {one["name"]: one["value"] for one in ask["env"]}
    address = f"localhost:{proxy.ports['grpc']}"
    environment["URL"] = environment["URL"].replace("bert-qa.ml.svc:9000", address)
    environment["HTTP_URL"] = http_url
    if "REST_URL" in environment:
        scheme = environment["REST_URL"].partition(":")[0]
        environment["REST_URL"] = f"{scheme}://localhost:{proxy.ports['rest']}"
    environment["PODS"] = environment["PODS"].replace("bert-qa-headless.ml.svc", pods)
    environment = {
        name: value.replace("/token/", f"{directory}/").replace("/tls/", f"{directory}/tls/")
        for name, value in environment.items()
    }
    programs = Path(sys.executable).parent
    environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    arguments = [one.replace("/tls/", f"{directory}/tls/") for one in ask.get("args", [])]
    return subprocess.run(
        [*ask["command"], *arguments], env=environment, capture_output=True, text=True, check=False
    )


def the_answer(proxy: Proxy, scheme: str, tls: TLS | None = None) -> str:
    """What the served model answers to the chart's own question."""
    given = {one["name"]: one.get("value", "") for one in asking("pvc")["env"]}
    with QAClient(f"{scheme}://localhost:{proxy.ports['grpc']}", tls=tls) as client:
        return client.answer(given["QUESTION"], given["CONTEXT"]).text


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on PATH")
def test_it_passes_when_the_served_model_finds_the_answer(
    engine: LocalServer, tmp_path: Path
) -> None:
    with running_proxy("pvc", engine, tmp_path) as proxy:
        answer = the_answer(proxy, "grpc")
        (tmp_path / "token").write_text("a-secret-token\n")
        ask = asking(
            "pvc", {"test": {"answer": answer.upper()}, "httpApi": {"token": {"secretName": "s"}}}
        )
        with http_api(proxy, tmp_path, token="a-secret-token") as url:
            ended = run(ask, proxy, tmp_path, url)
            refused = run(asking("pvc", {"test": {"answer": answer}}), proxy, tmp_path, url)
        gone = run(ask, proxy, tmp_path, url)
    assert ended.returncode == 0, ended.stderr
    assert '"model_version": 1' in ended.stdout
    assert json.dumps(answer) in ended.stdout.splitlines()[-1]
    assert refused.returncode == 1
    assert "error: 401" in refused.stderr
    assert "A bearer token is required" in refused.stderr
    assert gone.returncode == 1
    assert f"error: {url} does not answer: " in gone.stderr
    assert "`kubectl --namespace ml logs deployment/bert-qa-http-api` may say why" in gone.stderr


def test_it_fails_with_both_answers_when_the_model_finds_another(
    engine: LocalServer, tmp_path: Path
) -> None:
    with running_proxy("pvc", engine, tmp_path) as proxy:
        answer = the_answer(proxy, "grpc")
        ended = run(asking("pvc", {"test": {"answer": "another answer"}}), proxy, tmp_path)
    assert ended.returncode == 1
    assert f"The answer is {answer!r}, which does not contain 'another answer'." in ended.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on PATH")
def test_it_names_a_further_model_that_is_not_served(engine: LocalServer, tmp_path: Path) -> None:
    with running_proxy("pvc", engine, tmp_path) as proxy:
        answer = the_answer(proxy, "grpc")
        ask = asking("pvc", {"model": {"others": ["another"]}, "test": {"answer": answer}})
        lacking = run(ask, proxy, tmp_path)
        others = next(each for each in ask["env"] if each["name"] == "OTHERS")
        others["value"] = "bert-qa bert-qa"
        served = run(ask, proxy, tmp_path)
    assert lacking.returncode == 1
    assert lacking.stderr.splitlines()[-1] == (
        "error: another, which model.others names, is not served (404): publish it, or leave it"
        " out (`kubectl --namespace ml logs --selector app.kubernetes.io/instance=bert-qa,"
        "bert-qa/track=stable --container ovms` may say why)"
    )
    assert served.returncode == 0, served.stderr


def test_it_fails_with_one_sentence_when_no_server_answers(
    engine: LocalServer, tmp_path: Path
) -> None:
    with running_proxy("pvc", engine, tmp_path) as proxy:
        pass
    ended = run(asking("pvc"), proxy, tmp_path)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "error:" in ended.stderr
    assert "is ready" not in ended.stderr


@pytest.mark.parametrize(
    ("version", "expected", "to_do"),
    [
        (7, "no version 7 of bert-qa", "publish it, or set tracks.stable.version to one that is"),
        ("latest", "no version of bert-qa", "publish one."),
    ],
)
def test_it_says_what_to_do_where_the_version_of_the_track_is_not_there(
    engine: LocalServer, tmp_path: Path, version: int | str, expected: str, to_do: str
) -> None:
    with running_proxy("pvc", engine, tmp_path) as proxy:
        pass
    ask = asking("pvc", {"tracks": {"stable": {"version": version}}})
    ended = run(ask, proxy, tmp_path, pods="nobody.invalid")
    assert ended.returncode == 1
    sentence = ended.stderr.splitlines()[-1]
    assert sentence.startswith("error: No pod of the track stable is ready")
    assert f"the repository has {expected}, or it does not load" in sentence
    assert to_do in sentence


def test_it_speaks_mutual_tls(engine: LocalServer, tmp_path: Path) -> None:
    with running_proxy("mutual-tls", engine, tmp_path) as proxy:
        authority = proxy.authority.certificate
        pair = proxy.authority.issue("client")
        mount_secret(tmp_path / "tls" / "client", pair)
        mount_secret(tmp_path / "tls" / "server", {"ca.crt": authority.read_bytes()})
        directory = tmp_path / "tls" / "client"
        tls = TLS(ca=authority, certificate=directory / "tls.crt", key=directory / "tls.key")
        others = {"model": {"others": ["another"]}}
        answer = {"test": {"answer": the_answer(proxy, "grpcs", tls)}}
        ended = run(asking("mutual-tls", answer), proxy, tmp_path)
        lacking = run(asking("mutual-tls", answer | others), proxy, tmp_path)
    assert ended.returncode == 0, ended.stderr
    # The server's own status, so that it was reached.
    assert "another, which model.others names, is not served (404)" in lacking.stderr


def test_the_mutual_tls_files_are_mounted_where_the_command_reads_them() -> None:
    pod = render("mutual-tls").one("Pod")["spec"]
    mounts = {one["mountPath"]: one["name"] for one in container(pod, "ask")["volumeMounts"]}
    arguments = container(pod, "ask")["args"]
    assert {argument.partition("=")[0] for argument in arguments} >= {
        "--ca",
        "--certificate",
        "--key",
    }
    for argument in arguments:
        assert str(Path(argument.partition("=")[2]).parent) in mounts
    secrets = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}
    assert secrets == {
        mounts["/tls/client"]: {"secretName": "test-certificate", "defaultMode": 0o440},
        mounts["/tls/server"]: {
            "secretName": "server-certificate",
            "defaultMode": 0o440,
            "items": [{"key": "ca.crt", "path": "ca.crt"}],
        },
    }


def test_helm_removes_it_once_it_has_passed() -> None:
    annotations = render().one("Pod")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test"
    assert set(annotations["helm.sh/hook-delete-policy"].split(",")) == {
        "before-hook-creation",
        "hook-succeeded",
    }


def test_it_asks_through_the_service_over_all_tracks() -> None:
    rendering = render("tracks")
    environment = {one["name"]: one["value"] for one in asking("tracks")["env"]}
    host = environment["URL"].removeprefix("grpc://").partition(".")[0]
    rendering.one("Service", host)
    pods = rendering.one("Service", environment["PODS"].partition(".")[0])
    assert pods["spec"]["clusterIP"] == "None"
    assert pods["spec"]["selector"]["bert-qa/track"] in environment["NOT_READY"]
    assert environment["MODEL"] == "bert-qa"


def test_texts_are_asked_as_they_are_whatever_kubernetes_makes_of_dollars() -> None:
    texts = {
        "question": "What is $(HOME), $$5 or $5?",
        "context": "It is $$$ in '$(HOME)'.",
        "answer": "$$$",
    }
    given = {each["name"]: each["value"] for each in asking("default", {"test": texts})["env"]}
    # What Kubernetes does to the value of a variable, of which HOME is an earlier one.
    expanded = {
        name: re.sub(
            r"\$(\$|\((\w+)\))", lambda at: given.get(at[2], at[0]) if at[2] else "$", value
        )
        for name, value in given.items()
    }
    assert {key: expanded[key.upper()] for key in texts} == texts
    assert json.loads(expanded["HTTP_BODY"])["inputs"] == {
        key: texts[key] for key in ("question", "context")
    }
