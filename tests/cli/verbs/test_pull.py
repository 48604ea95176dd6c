from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.hub import TOKEN, running_hub
from tests.support.models import write_manifest, write_toy_version


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pull") / "model_repository"
    write_manifest(write_toy_version(root, 1), family="bert", precision="FP32")
    return root


def test_a_version_goes_to_a_hub_and_comes_back(
    invoke: Invoke, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

        pushed = invoke("publish", "--to", "hf://org/qa", "--repository", str(root), "--public")

        assert pushed.status == 0, pushed.err
        assert f"Version 1 of bert-qa is at {hub.url}/org/qa/tree/main: 7 files" in pushed.out
        assert "The model is public." in pushed.out
        assert "Sending openvino_model.xml" in pushed.err

        arguments = ("pull", "hf://org/qa", "--repository", str(tmp_path / "r"))
        pulled = invoke(*arguments)

        assert pulled.status == 0, pulled.err
        assert "is version 1 of bert-qa, in FP32" in pulled.out
        assert "Receiving openvino_model.bin" in pulled.err
        again = invoke(*arguments, "--json")
        assert json.loads(again.out)["present"]

    shown = invoke("versions", "show", "1", "--repository", str(tmp_path / "r"))
    assert "hf://org/qa@" in shown.out


def test_a_directory_in_the_hub_s_layout_is_pulled(
    invoke: Invoke, root: Path, tmp_path: Path
) -> None:
    to = str(tmp_path / "qa")
    laid_out = invoke("publish", "--to", to, "--layout", "hub", "--repository", str(root))
    assert laid_out.status == 0, laid_out.err
    pulled = invoke("pull", to, "--repository", str(tmp_path / "r"), "--model", "mine")
    assert "is version 1 of mine" in pulled.out
    assert pulled.out.rstrip().endswith(f"serve --repository {tmp_path / 'r'} --model mine")


def test_what_a_configuration_does_not_serve_is_switched_to(
    invoke: Invoke, root: Path, tmp_path: Path
) -> None:
    to, target = str(tmp_path / "qa"), tmp_path / "r"
    assert invoke("publish", "--to", to, "--layout", "hub", "--repository", str(root)).status == 0
    write_manifest(write_toy_version(target, 2), family="bert", precision="INT8")
    pinned = {
        "name": "bert-qa",
        "base_path": "bert-qa",
        "model_version_policy": {"specific": {"versions": [2]}},
    }
    config = {"model_config_list": [{"config": pinned}]}
    (target / "config.json").write_text(json.dumps(config))
    pulled = invoke("pull", to, "--repository", str(target))
    assert pulled.out.rstrip().endswith(f"switch --to 3 --repository {target}")


def test_a_version_that_is_there_already_is_served_too(
    invoke: Invoke, root: Path, tmp_path: Path
) -> None:
    to, target = str(tmp_path / "qa"), tmp_path / "r"
    assert invoke("publish", "--to", to, "--layout", "hub", "--repository", str(root)).status == 0
    arguments = ("pull", to, "--repository", str(target), "--model", "customer-1")
    assert invoke(*arguments).status == 0
    others = {"model_config_list": [{"config": {"name": "bert-qa", "base_path": "bert-qa"}}]}
    (target / "config.json").write_text(json.dumps(others))

    assert "It is there already" in invoke(*arguments).out

    served = json.loads((target / "config.json").read_text())["model_config_list"]
    assert [each["config"]["name"] for each in served] == ["bert-qa", "customer-1"]
    (target / "config.json").write_text("not JSON")
    refused = invoke(*arguments)
    assert (refused.status, refused.out) == (1, "")
    assert "config.json" in refused.err
    assert "Checking" not in refused.err  # Nothing was fetched for it.


@pytest.mark.parametrize("name", ["a b", "ä", "bert-qa-onnx", "bert-qa.split", ""])
def test_a_name_that_ovms_or_the_repository_cannot_have_is_refused(
    invoke: Invoke, root: Path, tmp_path: Path, name: str
) -> None:
    arguments = ("--repository", str(tmp_path / "r"), "--model", name)
    result = invoke("pull", str(root), *arguments)

    assert (result.status, result.out) == (2, "")
    assert "'--model'" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("address", "status", "complaint"),
    [
        ("hf://org", 2, "write hf://org/name"),
        ("hf:org/name", 2, "lacks //"),
        ("hf://datasets/org/name", 2, "write hf://org/name"),
        ("hf://org/name.git", 2, "write hf://org/name"),
        ("hf://org/na--me", 2, "write hf://org/name"),
        ("hf://org/name@", 2, "write hf://org/name"),
        ("mlflow://", 2, "write mlflow://name"),
        ("mlflow://name/latest", 2, "write mlflow://name"),
        ("az://models/qa", 2, "is a repository that OVMS reads"),
        ("nowhere", 1, "There is no directory nowhere"),
        ("", 2, "The address is empty"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    status: int,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("pull", address, "--repository", str(tmp_path / "r"))
    assert (result.status, result.out) == (status, "")
    assert complaint in result.err
    assert list(tmp_path.iterdir()) == []
