"""What the versions of one family are worth, read from their manifests."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from bertqa.artifact import Pruning, Repository, Scores
from bertqa_build.pruning import drawing
from bertqa_build.pruning.pareto import Point, family_of_version
from tests.support.documents import check_document
from tests.support.models import write_manifest, write_toy_version


def pruning(speedup: float, over_fp32: float, *, precision: str) -> Pruning:
    return Pruning(
        speedup=speedup,
        precision="INT8",
        measured=speedup + 0.01,
        over_fp32=over_fp32,
        heads=(4, 2),
        neurons=(64, 0),
        batch=8,
        tokens=192,
        threads=4,
        cpu="a CPU",
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Versions 1 to 6 are a family, of which 6 is beaten by 4; 7 is of another one."""
    root = tmp_path_factory.mktemp("family")
    for number, precision, parent, f1, made in (
        (1, "FP32", None, 80.0, None),
        (2, "INT8", 1, 79.5, None),
        (3, "FP32", 1, 78.0, pruning(2.0, 2.01, precision="FP32")),
        (4, "INT8", 3, 77.0, pruning(2.0, 6.03, precision="INT8")),
        (5, "FP32", 1, 75.0, pruning(3.0, 3.01, precision="FP32")),
        (6, "INT8", 5, 74.0, pruning(1.9, 5.73, precision="INT8")),
        (7, "FP32", None, 90.0, None),
    ):
        write_manifest(
            write_toy_version(root, number),
            precision=precision,
            parent=parent,
            scores=Scores("data", 10, f1 - 10, f1),
            pruning=made,
        )
    return Repository(root)


@pytest.mark.parametrize("version", [1, 4, 6])
def test_a_family_is_found_from_any_of_its_versions(repository: Repository, version: int) -> None:
    points = family_of_version(repository, version)
    assert [each.version for each in points] == [1, 3, 2, 5, 6, 4]
    assert [each.asked for each in points] == [1, 2, 1, 3, 1.9, 2]
    # The unpruned INT8 version is as much faster than FP32 as its pruned ones say.
    assert points[2].over_fp32 == pytest.approx(3.0, rel=0.01)
    assert {each.version for each in points if each.on_front} == {1, 2, 4}
    family = [each.to_dict() for each in points]
    document = {"versions": [], "gate": None, "family": family, "reproducibility": None}
    assert check_document(["build"], json.dumps(document))["family"][1]["speedup"] == 2


def test_versions_that_were_measured_otherwise_are_not_on_one_curve(tmp_path: Path) -> None:
    here = pruning(2.0, 2.01, precision="FP32")
    for number, parent, made in (
        (1, None, None),
        (2, 1, here),
        (3, 1, replace(here, threads=8)),
        (4, 1, replace(here, tokens=64)),
        (5, 1, here),
    ):
        scores = Scores("data", 10, 60, 70)
        directory = write_toy_version(tmp_path, number)
        write_manifest(directory, precision="FP32", parent=parent, scores=scores, pruning=made)
    family = {
        version: [each.version for each in family_of_version(Repository(tmp_path), version)]
        for version in (1, 2, 3, 4)
    }
    assert family == {1: [1, 2, 5], 2: [1, 2, 5], 3: [1, 3], 4: [1, 4]}


def test_a_version_without_pruned_ones_has_no_family(repository: Repository) -> None:
    assert family_of_version(repository, 7) == []


def test_the_curve_and_the_layers_are_drawn(repository: Repository) -> None:
    points: list[Point] = family_of_version(repository, 1)
    pruned = [each for each in points if each.heads]
    for svg in (drawing.curve(points), drawing.layers(pruned)):
        texts = [each.text for each in ElementTree.fromstring(svg).iter() if each.text]
        assert any("2x" in text for text in texts)
