"""docs/kubernetes.md: its commands are ones that helm takes, in the order in which they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import yaml

from tests.support.chart import CHART, ROOT, Manifest
from tools.programs import helm

DOCUMENT = ROOT / "docs" / "kubernetes.md"
UPGRADE = "helm upgrade bert-qa deploy/helm/bert-qa --reuse-values"
GATEWAY = ["gateway.enabled=true", "gateway.http.hostnames={a}", "gateway.grpc.hostnames={b}"]
GATEWAY += [f"gateway.{kind}.parentRefs[0].name=public" for kind in ("http", "grpc")]


def commands() -> list[list[str]]:
    """The helm commands of the document, as words."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    full = [re.sub("^up ", f"{UPGRADE} ", line) for line in typed]
    return [shlex.split(line, comments=True) for line in full if line.startswith("helm ")]


def rendered(arguments: list[str], directory: Path) -> list[Manifest]:
    command = [str(helm()), "template", "bert-qa", str(CHART), *arguments]
    given = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    return list(filter(None, yaml.load_all(given.stdout, Loader=yaml.CSafeLoader)))


def test_every_installation_renders(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n", encoding="utf-8")
    installations = [words[4:] for words in commands() if words[1] == "install" and words[4:]]
    assert len(installations) >= 3
    for arguments in installations:
        assert rendered(arguments, tmp_path)


def test_the_steps_to_a_new_version_render_one_after_the_other(tmp_path: Path) -> None:
    upgrades = [words[5:] for words in commands() if words[1] == "upgrade"]
    given = ["--set", "model.pvc.claimName=models"]
    given += [part for setting in GATEWAY for part in ("--set", setting)]
    traffic = []
    for arguments in upgrades:
        given += arguments
        deployments = [one for one in rendered(given, tmp_path) if one["kind"] == "Deployment"]
        shares: Counter[str] = Counter()
        for notes in (one["metadata"]["annotations"] for one in deployments):
            shares[notes["bert-qa/version"]] += int(notes["bert-qa/weight"])
        traffic.append(shares)
    assert traffic == [
        {"1": 100},
        {"1": 100, "2": 0},
        {"1": 90, "2": 10},
        {"1": 0, "2": 100},
        {"2": 100},
        {"2": 100},
        {"2": 100},
    ]


def test_the_refusal_that_it_shows_is_what_helm_prints() -> None:
    command = [str(helm()), "template", "bert-qa", str(CHART)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    shown = " ".join(DOCUMENT.read_text("utf-8").split())
    sentence = refused.stderr.partition("validate.yaml:1:4): ")[2].splitlines()[0]
    assert sentence.endswith(".")
    assert sentence in shown
