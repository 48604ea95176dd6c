from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertqa.artifact import Repository
from bertqa.errors import InvalidOptionError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.registries.pulling import pull
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.publishing import publish

MODEL = Address.parse("mlflow://qa")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty file store, to which the environment leads."""
    uri = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return uri


@pytest.mark.thorough
def test_a_version_is_registered_with_its_scores_and_comes_back(
    store: str, made: Repository, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    before = dict(os.environ)
    first, again, second = (publish(made, version, MODEL) for version in (1, 1, 2))

    assert first.to == again.to == "mlflow://qa/1"
    assert second.to == "mlflow://qa/2"
    assert not any(file.sent for file in again.files)
    assert dict(os.environ) == before
    client = MlflowClient(store)
    run = client.get_run(str(client.get_model_version("qa", "1").run_id))
    assert run.data.metrics == {"f1": 78.171342, "exact_match": 65.0, "f1_drop": 0.25}
    assert run.data.params["family"] == "bert"
    assert run.info.status == "FINISHED"

    target = Repository(tmp_path / "r")
    assert pull(target, Address.parse("mlflow://qa/1")).version == 1
    assert pull(target, MODEL).origin == "mlflow://qa/2"
    assert target.manifest(2).files == made.manifest(2).files
    for name in ("qa/7", "nothing"):
        with pytest.raises(StorageError, match=r"has no mlflow://"):
            pull(target, Address.parse(f"mlflow://{name}"))
    with pytest.raises(InvalidOptionError, match="numbers versions itself"):
        publish(made, 1, Address.parse("mlflow://qa/3"))


def test_without_a_server_the_variable_is_named(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(StorageError, match="MLFLOW_TRACKING_URI is not set"):
        publish(made, 1, MODEL)
    with pytest.raises(StorageError, match="MLFLOW_TRACKING_URI is not set"):
        pull(Repository(tmp_path), MODEL)


@pytest.mark.thorough
def test_a_server_that_is_away_is_one_sentence(
    made: Repository, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port}")
    with pytest.raises(StorageError, match=r"Cannot connect to the MLflow registry at http"):
        publish(made, 1, MODEL)
