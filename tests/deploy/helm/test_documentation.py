"""docs/kubernetes.md: its commands are ones that helm takes, in the order in which they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from tests.deploy.cluster.api_server import ApiServer, running
from tests.support.chart import CHART, NAMESPACE, RELEASE, ROOT, Manifest, is_of_http_api
from tests.support.keys import write_keys
from tests.support.ports import free_port
from tools.programs import helm, older_helm

DOCUMENT = ROOT / "docs" / "kubernetes.md"
UPGRADE = "helm upgrade bert-qa deploy/helm/bert-qa --reset-then-reuse-values"
GATEWAY = ["gateway.enabled=true", "gateway.http.hostnames={a}", "gateway.grpc.hostnames={b}"]
GATEWAY += [f"gateway.{kind}.parentRefs[0].name=public" for kind in ("http", "grpc")]


def commands() -> list[list[str]]:
    """The helm commands of the document, as words, but for the one that is refused."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    text = re.sub(r"^\$ .*\n(?=Error)", "", "".join(blocks), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    full = [re.sub("^up ", f"{UPGRADE} ", line) for line in typed]
    return [shlex.split(line, comments=True) for line in full if line.startswith("helm ")]


def rendered(arguments: list[str], directory: Path) -> list[Manifest]:
    command = [str(helm()), "template", "bert-qa", str(CHART), *arguments]
    given = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    return list(filter(None, yaml.load_all(given.stdout, Loader=yaml.CSafeLoader)))


def test_every_installation_renders(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n", encoding="utf-8")
    write_keys(tmp_path).public.rename(tmp_path / "public.pem")
    installations = [words[4:] for words in commands() if words[1] == "install" and words[4:]]
    assert len(installations) >= 3
    for arguments in installations:
        assert rendered(arguments, tmp_path)


@pytest.mark.parametrize(
    "program",
    [helm, pytest.param(older_helm, marks=pytest.mark.thorough)],
    ids=["helm 4", "helm 3"],
)
def test_the_steps_to_a_new_version_are_ones_that_helm_takes_one_after_the_other(
    program: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an API server: what `null` and the values of before come to is decided by an upgrade."""
    kubeconfig, port = tmp_path / "kubeconfig", free_port()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    installation = ["install", RELEASE, str(CHART), "--set", "tracks.stable.version=1"]
    installation += [part for setting in GATEWAY for part in ("--set", setting)]
    upgrades = [words[1:] for words in commands() if words[1] == "upgrade"]
    deployments = f"http://127.0.0.1:{port}/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    traffic = []
    with running(ApiServer(dict.fromkeys((1, 2, 3), 0)), port, kubeconfig):
        for arguments in (installation, *upgrades):
            command = [str(program()), *arguments, "--namespace", NAMESPACE]
            subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            found = httpx.get(deployments).raise_for_status().json()["items"]
            found = [one for one in found if not is_of_http_api(one)]
            shares = {}
            for one in found:
                notes, pods = one["metadata"]["annotations"], one["spec"]["replicas"]
                shares[notes["bert-qa/version"]] = (int(notes["bert-qa/weight"]), pods)
            traffic.append(shares)
    assert traffic == [
        {"1": (100, 2)},
        {"1": (100, 2), "2": (0, 2)},
        {"1": (90, 2), "2": (10, 2)},
        {"1": (0, 2), "2": (100, 2)},
        {"1": (0, 0), "2": (100, 2)},
        {"1": (0, 0), "2": (100, 2), "3": (0, 2)},
        {"1": (0, 0), "2": (0, 2), "3": (100, 2)},
        {"1": (0, 0), "3": (100, 2)},
    ]


def test_no_advice_loses_the_new_values_of_a_newer_chart() -> None:
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *CHART.rglob("*")]
    for path in documents:
        if path.is_file() and path != DOCUMENT:
            assert "--reuse-values" not in path.read_text("utf-8"), path
    assert not any("--reuse-values" in words for words in commands())


def test_the_refusal_that_it_shows_is_what_helm_prints() -> None:
    given = ("model.pvc.claimName=models", "model.hostPath.path=/srv/models")
    command = [str(helm()), "template", "bert-qa", str(CHART), "--set", ",".join(given)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    shown = " ".join(DOCUMENT.read_text("utf-8").split())
    sentence = refused.stderr.partition("validate.yaml:2:4): ")[2].splitlines()[0]
    assert sentence.endswith(".")
    assert sentence in shown
