"""model.verify: the init container that verifies a version before the server of its pod starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bertqa.artifact import Repository, sign_version
from tests.support.chart import Manifest, container, pod_template, refusal, render
from tests.support.keys import KeyPair, write_keys
from tests.support.models import write_published_version


def changed_weights(model: Path) -> str:
    weights = model / "1" / "model.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    return "model.bin is missing, or is not the file that was signed"


def added_version(model: Path) -> str:
    shutil.copytree(model / "1", model / "01")
    return "bert-qa/01 is a version for OVMS"


def added_graph(model: Path) -> str:
    (model / "graph.pbtxt").touch()
    return "graph.pbtxt is a graph, which OVMS would serve in place of the versions"


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


def template(keys: KeyPair, scenario: str, kubernetes: str = "1.35.0") -> Manifest:
    verify = {"model": {"verify": {"publicKey": keys.public.read_text()}}}
    values = verify if scenario == "default" else {**verify, "tracks": {"stable": {"version": 1}}}
    return pod_template(render(scenario, values, kubernetes=kubernetes))


def key_of(found: Manifest) -> str:
    """What the container finds in its file: the annotation that its volume names."""
    (volume,) = [each for each in found["spec"]["volumes"] if each["name"] == "verify"]
    (item,) = volume["downwardAPI"]["items"]
    assert item["path"] == "public-key.pem"
    name = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
    return str(found["metadata"]["annotations"][name])


def test_each_further_model_is_verified_too(keys: KeyPair) -> None:
    model = {"verify": {"publicKey": keys.public.read_text()}, "others": ["customer-1"]}
    pod = pod_template(render("pvc", {"model": model, "tracks": {"stable": {"version": 1}}}))
    verifying = {
        each["name"]: each["args"]
        for each in pod["spec"]["initContainers"]
        if each["name"].startswith("verify-model")
    }
    assert verifying == {
        "verify-model": ["--model=bert-qa", "1"],
        "verify-model-1": ["--model=customer-1", "--all"],
    }


@pytest.mark.parametrize(
    ("scenario", "kubernetes"),
    [
        ("pvc", "1.35.0"),
        ("image", "1.35.0"),
        ("image", "1.34.0"),
        ("single-node", "1.35.0"),
        ("rollouts", "1.35.0"),
    ],
)
def test_it_sees_what_the_server_sees_and_runs_before(
    keys: KeyPair, scenario: str, kubernetes: str
) -> None:
    found = template(keys, scenario, kubernetes)
    assert key_of(found) == keys.public.read_text()
    names = [each["name"] for each in found["spec"]["initContainers"]]
    one, server = container(found["spec"], "verify-model"), container(found["spec"], "ovms")
    of_model = [each for each in server["volumeMounts"] if each["name"] == "models"]
    assert [each for each in one["volumeMounts"] if each["name"] == "models"] == of_model
    if kubernetes == "1.34.0":
        assert names.index("copy-model") < names.index("verify-model")
    assert one["securityContext"]["readOnlyRootFilesystem"]
    assert one["image"].startswith("bert-qa-client:")


def test_without_a_key_there_is_none() -> None:
    found = pod_template(render("pvc"))
    assert "verify-model" not in [each["name"] for each in found["spec"]["initContainers"]]
    assert "bert-qa/public-key.pem" not in found["metadata"]["annotations"]


def test_a_private_key_is_refused(keys: KeyPair) -> None:
    private = {"model": {"verify": {"publicKey": keys.private.read_text()}}}
    assert "/model/verify/publicKey" in refusal(private)


def test_all_versions_of_an_image_are_verified_where_the_newest_is_served(keys: KeyPair) -> None:
    """OVMS takes an older one in the place of one that does not load."""
    one = container(template(keys, "default")["spec"], "verify-model")
    assert one["args"] == ["--model=bert-qa", "--all"]
    pinned = container(template(keys, "pvc")["spec"], "verify-model")
    assert pinned["args"] == ["--model=bert-qa", "1"]


@pytest.mark.parametrize("change", [changed_weights, added_version, added_graph])
def test_its_command_refuses_what_was_changed(
    keys: KeyPair, tmp_path: Path, change: Callable[[Path], str]
) -> None:
    """The container's own command, with the places of this machine."""
    models = tmp_path / "models"
    write_published_version(models, 1)
    sign_version(Repository(models), 1, "bert-qa", keys.sign)
    found = template(keys, "pvc")
    one = container(found["spec"], "verify-model")
    key = tmp_path / "public-key.pem"
    key.write_text(key_of(found), encoding="utf-8")
    words: list[str] = [*one["command"], *one["args"]]
    assert words[0] == "bert-qa"
    arguments = [
        each.replace("=/models", f"={models}").replace("=/verify/public-key.pem", f"={key}")
        for each in words[1:]
    ]

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bertqa_cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run().returncode == 0, run().stderr
    reason = change(models / "bert-qa")
    refused = run()
    assert refused.returncode == 1
    assert reason.replace(" ", "") in "".join(refused.stderr.split())
