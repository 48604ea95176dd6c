"""Which versions of a repository stay, and deleting the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.artifact import (
    Draft,
    GateResult,
    Repository,
    RepositoryWriter,
    VersionManifest,
    onnx_model_name,
)
from bertqa.errors import RepositoryBusyError, RepositoryError
from bertqa_deploy.config_file import SplitModel
from bertqa_deploy.errors import VersionNeededError
from bertqa_deploy.retention import delete_versions, needed_versions
from tests.support.models import write_config

PASSED, FAILED = GateResult(passed=True), GateResult(passed=False, forced=True)


def publish(root: Path, *gates: GateResult | None) -> Repository:
    """Publish a version with its ONNX twin for each result of the gate."""
    repository = Repository(root / "repository")
    file = root / "model"
    for number, gate in enumerate(gates, start=1):
        file.write_text(f"weights {number}", encoding="utf-8")
        drafts = [
            Draft(
                VersionManifest(name, 0, "int8", "any", "tests", "", {}, gate=gate), {"model": file}
            )
            for name in ("bert-qa-onnx", "bert-qa")
        ]
        with RepositoryWriter(repository) as writer:
            writer.publish(drafts)
    return repository


def serve_only(repository: Repository, *versions: int) -> None:
    write_config(repository.root, policy={"specific": {"versions": list(versions)}})


def test_a_version_goes_with_its_twin_and_its_number_never_comes_back(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED, FAILED)
    # A version that was copied by hand has the highest number, and no writer has met it.
    (repository.root / "bert-qa" / "7").mkdir()
    serve_only(repository, 2)

    delete_versions(repository, [1, 3, 7])

    assert repository.versions() == repository.versions("bert-qa-onnx") == [2]
    with RepositoryWriter(repository) as writer:
        assert writer.next_number("bert-qa-onnx", "bert-qa") == 8
    assert not list((repository.root / ".bert-qa").glob("staged/*"))


def test_the_half_that_an_interrupted_deletion_left_can_be_deleted(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED)
    with RepositoryWriter(repository) as writer:
        writer.delete(1, "bert-qa-onnx")

    delete_versions(repository, [1])

    assert (repository.versions(), repository.versions("bert-qa-onnx")) == ([2], [2])


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        ({"all": {}}, {1, 2, 3, 4}),
        ({"latest": {"num_versions": 2}}, {3, 4}),
        ({"specific": {"versions": [1]}}, {1, 3}),
        ({"specific": {"versions": [9]}}, {3}),
    ],
)
def test_what_the_configuration_serves_and_the_newest_good_one_stay(
    tmp_path: Path, policy: object, needed: set[int]
) -> None:
    repository = publish(tmp_path, None, PASSED, PASSED, FAILED)
    write_config(repository.root, policy=policy)
    assert needed_versions(repository).keys() == needed


def test_a_model_under_another_name_is_served_too(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED, PASSED)
    entries = [
        {"name": "bert-qa", "base_path": "/models/bert-qa", "model_version_policy": LATEST},
        {"name": "on-trial", "base_path": "s3://bucket/bert-qa/", "model_version_policy": FIRST},
        {"name": onnx_model_name("bert-qa"), "base_path": "bert-qa-onnx"},
    ]
    config = {"model_config_list": [{"config": each} for each in entries]}
    repository.config_path.write_text(json.dumps(config), encoding="utf-8")
    assert needed_versions(repository) == {
        1: f"is served as on-trial, by {repository.config_path}",
        3: f"is served as bert-qa, by {repository.config_path}",
    }


LATEST = {"latest": {"num_versions": 1}}
FIRST = {"specific": {"versions": [1]}}


@pytest.mark.parametrize(
    ("memory", "needed"),
    [
        ({"good": "2=100", "previous": "1=100"}, {1, 2, 4}),
        ({"good": "2=100", "goal": "3=100", "previous": "1=50,2=50"}, {1, 2, 3, 4}),
        (None, {1, 2, 4}),
    ],
)
def test_where_traffic_is_and_may_go_stays(
    tmp_path: Path, memory: dict[str, str] | None, needed: set[int]
) -> None:
    repository = publish(tmp_path, PASSED, PASSED, PASSED, PASSED)
    with RepositoryWriter(repository) as writer:
        for split in ({1: 100.0}, {2: 100.0}):
            SplitModel(repository, "bert-qa").publish(split, writer)
    if memory is not None:
        file = repository.root / "bert-qa.rollout.json"
        file.write_text(json.dumps(memory), encoding="utf-8")
    assert needed_versions(repository).keys() == needed


def test_where_none_passed_the_gate_the_newest_stays(tmp_path: Path) -> None:
    repository = publish(tmp_path, None, FAILED, None)
    assert needed_versions(repository) == {3: "is the newest one"}


def test_what_a_server_reports_stays(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED)
    with pytest.raises(VersionNeededError, match=r"Version 1 is served by localhost:9000: nothing"):
        delete_versions(repository, [1], served={1: "localhost:9000"})


def test_one_that_is_needed_or_missing_keeps_all(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED, PASSED)
    serve_only(repository, 2)
    with pytest.raises(
        VersionNeededError, match=r"Version 2 is served as bert-qa.*switch --to N --retire"
    ):
        delete_versions(repository, [1, 2])
    with pytest.raises(RepositoryError, match=r"no version 9 of bert-qa \(published: 1, 2, 3\)"):
        delete_versions(repository, [1, 9])
    assert repository.versions() == [1, 2, 3]


def test_nothing_is_deleted_while_a_switch_is_under_way(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED)
    with RepositoryWriter(repository) as writer:
        lock = writer.reserve_switching()
    try:
        with pytest.raises(RepositoryBusyError, match="Another switch is under way"):
            delete_versions(repository, [1])
    finally:
        lock.release()
    assert repository.versions() == [1, 2]


def test_a_link_in_place_of_a_model_s_directory_is_not_followed(tmp_path: Path) -> None:
    repository = publish(tmp_path, PASSED, PASSED)
    model = repository.root / "bert-qa"
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RepositoryError, match="is a symbolic link"):
        delete_versions(repository, [1])
    assert repository.versions() == [1, 2]
