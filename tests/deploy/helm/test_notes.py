"""templates/NOTES.txt: the lines to try next, with the release's own names."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from bertqa.artifact import server_settings
from bertqa_serve.engine.server import LocalServer
from tests.deploy.cluster.api_server import ApiServer, running
from tests.deploy.helm.proxy import running_proxy
from tests.support.chart import CHART, NAMESPACE, SCENARIOS, render
from tests.support.ports import free_port
from tools.programs import helm, kubectl


def notes(scenario: str, values: dict[str, Any] | None = None, release: str = "answers") -> str:
    command = [str(helm()), "install", release, str(CHART), "--dry-run=client"]
    files = ["--namespace", NAMESPACE, "--values", str(SCENARIOS[scenario]), "--values", "-"]
    installed = subprocess.run(
        [*command, *files],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return installed.stdout.partition("NOTES:\n")[2]


def test_the_lines_carry_the_names_of_the_release() -> None:
    printed = notes("pvc")
    assert "kubectl --namespace ml rollout status deployment/answers-bert-qa-stable" in printed
    assert "helm test answers --namespace ml --logs" in printed
    assert "port-forward service/answers-bert-qa 9000 8000" in printed
    assert "--url grpc://localhost:9000" in printed
    assert "--model" not in printed
    assert "--model mine" in notes("pvc", {"model": {"name": "mine"}})
    assert "dns:///answers-bert-qa-headless.ml.svc:9000" in printed


def test_they_name_further_models() -> None:
    printed = notes("pvc", {"model": {"others": ["customer-1", "customer-2"]}})
    line = "Further models, each in its newest version, for requests that name them: "
    assert f"{line}customer-1, customer-2.\n" in printed
    assert "Further models" not in notes("pvc")


def test_they_say_how_to_ask_over_http() -> None:
    printed = notes("pvc")
    assert "port-forward service/answers-bert-qa-http-api 8080" in printed
    asked = "ask http://answers-bert-qa-http-api.ml.svc:8080."
    assert f"Programs of this namespace (others: networkPolicy.clients) {asked}" in printed
    mine: dict[str, Any] = {"networkPolicy": {"clients": [{"namespaceSelector": {}}]}}
    assert f"Programs that networkPolicy.clients names {asked}" in notes("pvc", mine)
    off = {"networkPolicy": {"enabled": False}}
    assert f"Programs in the cluster {asked}" in notes("pvc", off)
    line = next(one for one in printed.splitlines() if one.strip().startswith("curl"))
    words = shlex.split(line)
    assert words[:2] == ["curl", "http://localhost:8080"]
    assert "question" in json.loads(words[words.index("--data") + 1])["inputs"]
    secured = notes("tracks", {"httpApi": {"token": {"secretName": "answers"}}})
    assert '--header "Authorization: Bearer $TOKEN"' in secured
    assert "The gateway leads to it at /, /v1 and /models of\nqa.example.com." in secured
    assert "http-api" not in notes("pvc", {"httpApi": {"enabled": False}})
    assert "curl ADDRESS" in notes("kserve")
    assert "'s" in shlex.split(
        next(
            one
            for one in notes("pvc", {"test": {"question": "What's it?"}}).splitlines()
            if one.strip().startswith("curl")
        )
    )[-1].encode().decode("unicode-escape")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_paragraphs_are_one_line_apart(scenario: str) -> None:
    assert "\n\n\n" not in notes(scenario).strip()


def test_every_track_is_named_with_its_version_and_weight() -> None:
    printed = notes("tracks")
    assert "track stable: version 1, weight 90 %, Service answers-bert-qa-stable" in printed
    assert "track candidate: version 2, weight 10 %, Service answers-bert-qa-candidate" in printed


def test_a_single_track_shows_how_to_go_over_to_another_version() -> None:
    assert "bert-qa switch --release answers --namespace ml --to 2\n" in notes("pvc")
    assert "--to 3\n" in notes("image")
    assert "--to NUMBER" in notes("training")
    assert "--to" not in notes("tracks")


def test_weights_that_nothing_follows_are_pointed_out() -> None:
    sentence = "Without a gateway (gateway.enabled) the weights do not split traffic"
    values: dict[str, Any] = {"tracks": {"next": {"version": 2, "weight": 0}}}
    assert "the weights split what is asked over HTTP alone" in notes("pvc", values)
    values["httpApi"] = {"enabled": False}
    assert sentence in notes("pvc", values)
    assert "answers-bert-qa reaches the track stable alone" in notes("pvc", values)
    assert sentence not in notes("tracks")


@pytest.mark.parametrize("scenario", ["tls", "mutual-tls"])
def test_the_commands_with_tls_are_answered_as_they_are_printed(
    scenario: str, engine: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a forwarded port, with a certificate that has the name of the Service alone."""
    printed = [line.strip() for line in notes(scenario).splitlines()]
    (get,) = (line for line in printed if line.startswith("kubectl") and " get secret " in line)
    (ask,) = (line for line in printed if line.startswith("bert-qa ask"))
    programs = f"{kubectl().parent}{os.pathsep}{Path(sys.executable).parent}"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    (service,) = (line for line in printed if "port-forward" in line and "9000" in line)
    port, name = free_port(), service.partition("service/")[2].split()[0]
    with (
        running_proxy(scenario, engine, tmp_path, name=f"{name}.{NAMESPACE}.svc") as proxy,
        running(ApiServer({1: 0}), port, tmp_path / "kubeconfig"),
    ):
        authority = base64.b64encode(proxy.authority.certificate.read_bytes()).decode()
        secret = {"metadata": {"name": get.split()[5]}, "data": {"ca.crt": authority}}
        secrets = f"http://127.0.0.1:{port}/api/v1/namespaces/{NAMESPACE}/secrets"
        httpx.post(secrets, json=secret).raise_for_status()
        for file, content in proxy.authority.issue("client").items():
            (tmp_path / file).write_bytes(content)
        ask = ask.replace("localhost:9000", f"localhost:{proxy.ports['grpc']}")
        ended = subprocess.run(
            ["bash", "-c", f"{get} && {ask}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        unnamed = re.sub(" --server-name [^ ]+", "", ask)
        refused = subprocess.run(
            ["bash", "-c", unnamed], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0


def test_all_addresses_of_servers_with_tls_are_encrypted() -> None:
    printed = notes("tls")
    assert (
        "use grpcs://answers-bert-qa.ml.svc:9000, or dnss:///answers-bert-qa-headless.ml.svc:9000 "
        "with the server name answers-bert-qa.ml.svc to balance"
    ) in " ".join(printed.split())
    assert not re.findall("(grpc|dns)://", printed)
    certificate = render("tls").one("Certificate")["spec"]["dnsNames"]
    for name in ("bert-qa.ml.svc", "bert-qa-headless.ml.svc"):
        assert name in certificate
    assert "grpcs" not in notes("pvc")


def test_mutual_tls_says_whose_certificate_is_shown() -> None:
    printed = " ".join(notes("mutual-tls").split())
    assert "that the authority in the Secret client-authority has signed" in printed
    assert "--certificate" not in notes("tls")


def test_training_shows_how_to_follow_it_and_what_stays() -> None:
    printed = notes("training")
    assert "app.kubernetes.io/component=training" in printed
    assert "The claim answers-bert-qa-models stays" in printed
    assert "-models stays" not in notes("training", {"model": {"training": {"claimName": "mine"}}})


def test_kserve_names_the_inference_service() -> None:
    printed = notes("kserve")
    assert "kubectl --namespace ml get inferenceservice answers-bert-qa" in printed
    assert "helm test" not in printed


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"grpcMaxThreads": 999}, {"grpc_threads": 999}),
        ({"restWorkers": 8}, {"rest_workers": 8}),
        ({"streams": 5}, {"streams": 5}),
        ({"streams": 2000000, "threads": 1000000}, {"streams": 2000000, "threads": 1000000}),
        ({"maxRequestTokens": 1024}, {"max_request_tokens": 1024}),
        (
            {"grpcMaxThreads": 9, "maxConcurrentStreams": 2000000, "restWorkers": 2},
            {"grpc_threads": 9, "concurrent_streams": 2000000, "rest_workers": 2},
        ),
    ],
)
def test_values_that_contradict_each_other_are_named_as_serve_names_them(
    given: dict[str, int], same: dict[str, Any]
) -> None:
    conflicts = server_settings(4, 2**32, **same).conflicts()
    assert conflicts
    _, _, said = notes("pvc", {"server": given}).partition("Values that contradict each other:\n")
    assert [line.strip() for line in said.partition("Wait until")[0].split("\n") if line] == (
        conflicts
    )


def test_nothing_is_said_of_values_that_go_together() -> None:
    for scenario in ("pvc", "tracks", "xeon"):
        assert "contradict" not in notes(scenario)


def test_a_rollout_shows_how_to_wait_for_it_and_how_to_change_its_version() -> None:
    printed = notes("rollouts")
    assert "wait rollout/answers-bert-qa-stable --for=condition=Healthy" in printed
    assert "--reset-then-reuse-values --set tracks.stable.version=2" in printed
    assert "argo rollouts get rollout answers-bert-qa-stable --namespace ml --watch" in printed
    assert "deployment/" not in printed
    assert "candidate" not in printed


def test_images_that_have_to_be_pushed_first_are_named_with_what_pushes_them() -> None:
    printed = notes("default")
    assert "from yours, or loaded into them: bert-qa-client:" in printed
    upgrade = next(line for line in printed.splitlines() if "test.image.registry=" in line)
    assert "--set model.image.registry=registry.example/qa" in upgrade
    assert "model.image" not in notes("pvc").partition("These images")[2]
    assert "switch.image.registry" in notes("switch")
    assert "model.training.image.registry" in notes("training")
    assert "make images" in notes("kserve")
    everywhere = {"global": {"imageRegistry": "registry.example"}}
    assert "These images" not in notes("default", everywhere)


@pytest.mark.parametrize(
    ("scenario", "values", "made", "settings"),
    [
        ("default", {}, "client model", {"model.image", "test.image"}),
        ("switch", {}, "client switch", {"switch.image", "test.image"}),
        ("kserve", {}, "client", {"test.image"}),
        (
            "pvc",
            {"httpApi": {"image": {"repository": "bert-qa-client", "tag": "7"}}},
            "client",
            {"httpApi.image", "test.image"},
        ),
    ],
)
def test_what_pushes_images_makes_those_of_the_release_and_no_others(
    scenario: str, values: dict[str, Any], made: str, settings: set[str]
) -> None:
    printed = notes(scenario, values)
    line = next(one for one in printed.splitlines() if "make images REGISTRY" in one)
    assert shlex.split(line)[-1] == f"IMAGES={made}"
    upgrade = next(one for one in printed.splitlines() if ".registry=registry.example/qa" in one)
    assert set(re.findall(r"(\S+)\.registry=", upgrade)) == settings


def test_images_that_the_project_does_not_make_are_not_said_to_be_its_own() -> None:
    assert "These images" not in notes("pvc", {"test": {"image": "mine:1"}})
    without = {"httpApi": {"enabled": False}}
    assert "These images" not in notes("kserve", without)


def test_helm_is_asked_in_the_namespace_of_the_release() -> None:
    printed = notes("default", {"namespaceOverride": "elsewhere"})
    lines = [line.split() for line in printed.splitlines()]
    asked = {words[0]: set[str]() for words in lines if "--namespace" in words}
    for words in lines:
        if "--namespace" in words:
            asked[words[0]].add(words[words.index("--namespace") + 1])
    assert asked == {"helm": {NAMESPACE}, "bert-qa": {NAMESPACE}, "kubectl": {"elsewhere"}}


def test_logs_are_asked_for_where_helm_finds_them() -> None:
    """It looks in the release's own namespace, and fails where the test's pod is in another."""
    command = f"helm test answers --namespace {NAMESPACE}"
    for there, asked in ((NAMESPACE, f"{command} --logs"), ("elsewhere", command)):
        assert asked in [
            line.strip() for line in notes("default", {"namespaceOverride": there}).splitlines()
        ]


def test_a_track_that_follows_the_newest_version_shows_how_to_pin_it() -> None:
    printed = notes("default")
    assert "track stable: the newest version, weight 100 %" in printed
    assert f"bert-qa switch --release answers --namespace {NAMESPACE} --to NUMBER" in printed


@pytest.mark.parametrize(
    ("scenario", "when"),
    [("default", "it is given a model image that has one"), ("pvc", "there is one")],
)
def test_when_a_track_follows_the_newest_version_is_said(scenario: str, when: str) -> None:
    printed = notes(scenario, {"tracks": {"stable": {"version": "latest"}}})
    assert f"The track stable goes over to a newer version as soon as {when}, all" in printed
