from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa.artifact import GateResult, Repository, Scores
from tests.support.hub import TOKEN, Hub, running_hub
from tests.support.models import write_manifest, write_toy_version

CONFIG = {"model_type": "bert", "architectures": ["BertForQuestionAnswering"], "hidden_size": 8}
SCORES = Scores("dev.json", 200, exact_match=65.0, f1=78.171342)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Versions 1 and 2 as a build publishes them, with ONNX twins not loaded; not to be changed."""
    root = tmp_path_factory.mktemp("registries") / "model_repository"
    for version in (1, 2):
        directory = write_toy_version(root, version)
        known = {
            "family": "bert",
            "inputs": ("input_ids", "attention_mask", "token_type_ids"),
            "config": CONFIG,
            "scores": SCORES,
            "gate": GateResult(True, f1_drop=0.25),
            "source": f"org/base@{'a' * 40} + adapter",
        }
        write_manifest(directory, **known)
        twin = root / "bert-qa-onnx" / str(version)
        twin.mkdir(parents=True)
        (twin / "model.onnx").write_bytes(b"the ONNX of version %d" % version * 10_000)
        write_manifest(twin, **known)
    return Repository(root)


@pytest.fixture
def repository(made: Repository, tmp_path: Path) -> Repository:
    """A copy of `made` that may be changed."""
    shutil.copytree(made.root, tmp_path / "model_repository")
    return Repository(tmp_path / "model_repository")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty hub, to which the environment leads, with a token that may write."""
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub
