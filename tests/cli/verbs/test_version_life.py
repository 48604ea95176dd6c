from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.artifact import Draft, GateResult, Repository, RepositoryWriter, Scores, VersionManifest
from tests.cli.conftest import Invoke
from tests.support.engines import Served
from tests.support.models import write_config

RECIPE = {"seed": 42, "qat": {"epochs": 1.0, "distillation": {"weight": 0.9}}}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Three versions, each with an ONNX twin, of which the second is served."""
    repository = Repository(tmp_path / "repository")
    file = tmp_path / "model.bin"
    for number in (1, 2, 3):
        file.write_bytes(bytes(1_000_000 * number))
        manifest = VersionManifest(
            "bert-qa",
            0,
            "INT8",
            "openvino",
            "acme/" + "long-" * 12 + "checkpoint",
            "",
            {},
            Scores("dev.json", 200, 65.5, 79.25 + number),
            parent=None if number == 1 else 1,
            gate=GateResult(passed=True, f1_drop=-1.2, max_f1_drop=1.5),
            recipe={**RECIPE, "seed": 40 + number},
            toolchain={"openvino": "2026.4.1"},
        )
        twin = VersionManifest("bert-qa-onnx", 0, "INT8", "onnx", "acme/checkpoint", "", {})
        with RepositoryWriter(repository) as writer:
            writer.publish(
                [Draft(twin, {"model.onnx": file}), Draft(manifest, {"model.bin": file})]
            )
    write_config(repository.root, policy={"specific": {"versions": [2]}})
    return repository


def test_show_says_what_a_version_is_and_whether_its_files_are_those_published(
    invoke: Invoke, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (repository.version_dir(2, "bert-qa-onnx") / "model.onnx").write_bytes(b"another")
    (repository.version_dir(2) / "notes.txt").write_text("mine", encoding="utf-8")
    (repository.version_dir(3) / "model.bin").unlink()
    command = ("--repository", str(repository.root))

    shown = invoke("versions", "show", "2", *command)
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]

    assert shown.status == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    for line in (
        "version 2 of bert-qa, openvino and onnx",
        "served as bert-qa",
        "scores, openvino F1 81.25, EM 65.50 on 200 questions of dev.json",
        "gate passed",
        "f1_drop -1.2",
        "qat.distillation.weight 0.9",
        "tools openvino 2026.4.1",
    ):
        assert line in lines
    files = [line for line in lines if line.startswith("bert-qa")]
    assert [line.split(" ", 4)[0::4] for line in files] == [
        ["bert-qa/2/model.bin", "as published"],
        ["bert-qa/2/notes.txt", "not in the manifest"],
        ["bert-qa-onnx/2/model.onnx", "not the one published"],
    ]
    found = json.loads(invoke("versions", "show", "3", *command, "--json").out)
    assert found["version"] == 3
    first, second = found["formats"]
    assert (first["served_as"], second["served_as"]) == (None, None)
    assert first["manifest"]["recipe"]["seed"] == 43
    assert first["files"]["model.bin"] == {"size": None, "sha256": None, "state": "missing"}
    assert second["files"]["model.onnx"]["size"] == 3_000_000


def test_a_version_without_a_manifest_is_shown_with_a_remark(
    invoke: Invoke, repository: Repository
) -> None:
    (repository.version_dir(1) / "manifest.json").unlink()
    shown = invoke("versions", "show", "1", "--repository", str(repository.root))
    assert shown.status == 0
    assert "There is no " in shown.out
    assert "not in the manifest" in shown.out


def test_diff_shows_what_differs_and_nothing_else(invoke: Invoke, repository: Repository) -> None:
    command = ("--repository", str(repository.root))

    table = invoke("versions", "diff", "1", "2", *command).out
    *lines, more = table.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}

    assert rows["scores.f1"] == ["80.25", "81.25"]
    assert rows["recipe.seed"] == ["41", "42"]
    assert rows["size.model.bin"] == ["1.0", "MB", "2.0", "MB"]
    assert rows["parent"] == ["1"]
    assert rows.keys() == {"scores.f1", "recipe.seed", "size.model.bin", "parent"}
    assert more == "1 more in files: --all shows them."
    assert "files.model.bin" in invoke("versions", "diff", "1", "2", "--all", *command).out
    found = json.loads(invoke("versions", "diff", "2", "3", *command, "--json").out)
    assert (found["before"], found["after"]) == (2, 3)
    assert found["differences"]["scores.f1"] == {"before": 81.25, "after": 82.25}
    assert "say the same" in invoke("versions", "diff", "2", "2", *command).out


def test_delete_takes_versions_or_how_many_to_keep(invoke: Invoke, repository: Repository) -> None:
    command = ("versions", "delete", "--repository", str(repository.root))

    tried = json.loads(invoke(*command, "--keep", "1", "--dry-run", "--json").out)
    assert (tried["deleted"], list(tried["needed"])) == ([1], ["2"])
    assert repository.versions() == [1, 2, 3]

    deleted = invoke(*command, "--keep", "1")
    assert deleted.status == 0
    assert "version 2 stays: it is served as bert-qa" in deleted.out
    assert "version 1 deleted" in deleted.out
    assert repository.versions() == repository.versions("bert-qa-onnx") == [2, 3]

    again = invoke(*command, "--keep", "1")
    assert again.status == 0
    assert "nothing to delete" in again.out


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_delete_refuses_what_is_needed_or_missing(
    invoke: Invoke, repository: Repository, dry: tuple[str, ...]
) -> None:
    command = ("versions", "delete", *dry, "--repository", str(repository.root))
    for number, sentence in (
        ("2", "Version 2 is served as bert-qa"),
        ("3", "Version 3 is the newest that passed the quality gate"),
        ("9", "has no version 9"),
    ):
        refused = invoke(*command, "1", number)
        assert refused.status == 1
        assert sentence in refused.err
    assert repository.versions() == [1, 2, 3]


def test_delete_refuses_what_a_server_serves(
    invoke: Invoke, repository: Repository, served: Served
) -> None:
    command = ("--repository", str(repository.root), "--url", served.rest_url)
    refused = invoke("versions", "delete", "1", *command)
    assert refused.status == 1
    assert f"Version 1 is served by {served.rest_url}" in refused.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("delete",), "Name the versions to delete, or how many to --keep."),
        (("delete", "1", "--keep", "2"), "Name the versions to delete, or how many to --keep."),
        (("delete", "0"), "0 is not in the range"),
        (("delete", "--keep", "0"), "0 is not in the range"),
        (("delete", "1", "--token", "secret"), "--token is for a server"),
        (("--json", "show", "1"), "--json has no effect before show"),
        (("--model", "other", "delete", "1"), "--model has no effect before delete"),
        (("show",), "Missing argument 'N'"),
        (("diff", "1"), "Missing argument 'N'"),
    ],
)
def test_wrong_usage_is_status_2(
    invoke: Invoke, repository: Repository, arguments: tuple[str, ...], sentence: str
) -> None:
    options = () if arguments[0].startswith("--") else ("--repository", str(repository.root))
    refused = invoke("versions", *arguments, *options)
    assert refused.status == 2
    assert sentence in refused.err
    assert repository.versions() == [1, 2, 3]


@pytest.mark.parametrize("verb", [("show", "1"), ("diff", "1", "2"), ("delete", "1")])
def test_a_repository_that_is_not_there_is_not_made(
    invoke: Invoke, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    refused = invoke("versions", *verb, "--repository", str(tmp_path / "absent"))
    assert refused.status == 1
    assert "There is no model repository" in refused.err
    assert not (tmp_path / "absent").exists()
