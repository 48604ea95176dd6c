from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bertqa.artifact import Draft, Repository, RepositoryWriter, Scores, VersionManifest
from bertqa.evaluation import QuestionScores
from tests.cli.conftest import Invoke

RIGHT = {1: [1, 1, 1, 0], 2: [1, 0, 0, 0], 3: [1, 1, 1, 0], 4: None}
DIGESTS = {1: "a" * 64, 2: "a" * 64, 3: "b" * 64, 4: ""}


def manifest(number: int, right: Sequence[int] | None) -> VersionManifest:
    plain = VersionManifest("bert-qa", 0, "FP32", "openvino", "acme/checkpoint", "", {})
    if right is None:
        return plain
    f1 = np.array(right, dtype=np.float64)
    ids = tuple(bytes([each] * 5) for each in range(len(f1)))
    mean = 100 * float(f1.mean())
    return VersionManifest(
        "bert-qa",
        0,
        "FP32",
        "openvino",
        "acme/checkpoint",
        "",
        {},
        scores=Scores("dev.json", len(f1), mean, mean),
        evidence=QuestionScores(DIGESTS[number], ids, f1 == 1, f1).pack(),
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four versions: two on the same questions, one on others, one of an earlier release."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "model.bin").write_bytes(b"model")
    repository = Repository(folder / "repository")
    for number, right in RIGHT.items():
        with RepositoryWriter(repository) as writer:
            draft = Draft(manifest(number, right), {"model.bin": folder / "model.bin"})
            writer.publish([draft])
    return repository.root


def test_two_versions_are_compared_without_asking_them(
    invoke: Invoke, repository: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    command = ("compare", "1", "2", "--repository", str(repository))
    shown = invoke(*command, "--html", str(page))
    assert shown.status == 0, shown.err
    for part in ("4 questions of dev.json", "75.00", "25.00", "50.00 points", "McNemar", "--data"):
        assert part in shown.out
    assert "latency" not in shown.out
    assert "none was asked" in page.read_text(encoding="utf-8")
    found = json.loads(invoke(*command, "--json").out)
    assert found["f1_difference"]["estimate"] == -50
    assert (found["agreement"], found["disagreements"]) == (None, [])


def test_a_page_that_cannot_be_written_does_not_cost_what_was_computed(
    invoke: Invoke, repository: Path
) -> None:
    command = ("compare", "1", "2", "--repository", str(repository))

    result = invoke(*command, "--html", "/dev/full")

    assert result.status == 1
    assert "/dev/full cannot be written: No space left" in result.err
    assert "50.00 points" in result.out


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("1", "3"), "Version 1 was scored on 4 questions of dev.json and version 3 on 4"),
        (("1", "4"), "Version 4 was published without the scores of each question"),
        (("1", "model.xml"), "model.xml is not a version's number"),
        (("1", "1"), "cannot be compared with itself"),
        (("1", "2", "--url", "localhost:1"), "Type --data with questions"),
    ],
)
def test_what_cannot_be_compared_so_says_what_to_pass(
    invoke: Invoke, repository: Path, names: tuple[str, ...], complaint: str
) -> None:
    result = invoke("compare", *names, "--repository", str(repository))
    assert (result.status, result.out) == (2, "")
    assert complaint in " ".join(result.err.split())
    assert "--data" in result.err or "itself" in result.err


def test_a_version_that_is_not_published_is_named(invoke: Invoke, repository: Path) -> None:
    result = invoke("compare", "1", "9", "--repository", str(repository))
    assert result.status == 1
    assert "no version 9 of bert-qa" in result.err


def test_the_packed_scores_are_not_printed(invoke: Invoke, repository: Path) -> None:
    packed = json.loads((repository / "bert-qa" / "1" / "manifest.json").read_text())["evidence"]
    for command in (("show", "1"), ("show", "1", "--json"), ("diff", "1", "3"), ("--json",)):
        shown = invoke("versions", *command, "--repository", str(repository))
        assert shown.status == 0, shown.err
        assert packed["questions"][:20] not in "".join(shown.out.split())
    shown = invoke("versions", "diff", "1", "3", "--all", "--repository", str(repository))
    assert "evidence.dataset_sha256" in shown.out
