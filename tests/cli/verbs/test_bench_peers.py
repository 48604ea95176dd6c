from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from bertqa_build.bench.peers.plan import Kind, Peer
from bertqa_build.bench.peers.result import PeersComparison, Row
from bertqa_build.bench.plan import Precision
from bertqa_cli.verbs.bench_peers import DEFAULT_RECIPE, PEERS
from tests.cli.conftest import Invoke, Result

if TYPE_CHECKING:
    from tests.support.demo import DemoBuild

RECIPE = Path(__file__).parents[3] / "build" / "recipes" / "ptq.yaml"
DATA = RECIPE.parent / "demo" / "evaluation-sample.json"
Shown = Callable[..., Result]


def test_a_comparison_as_text_json_and_figure(
    invoke: Invoke, demo_build: DemoBuild, tmp_path: Path
) -> None:
    figure = tmp_path / "figure.svg"
    command = (
        *("bench", "peers", str(RECIPE), "--repository", str(demo_build.repository.root)),
        *("--peer", "in-process", "--questions", "2", "--rounds", "1", "--threads", "1"),
        *("--work-dir", str(tmp_path / "work")),
    )

    result = invoke(*command, "--plot", str(figure))
    assert result.status == 0, result.err
    assert "2 questions of evaluation-sample.json; 1 round" in result.out
    assert "bert-qa, recipe ptq: version 1 (FP32), version 2 (INT8)" in result.out
    assert "ours, in process" in result.out
    assert "Lost: the share of the F1 of ours, in process FP32 that is missing." in result.out
    assert ElementTree.parse(figure).getroot().tag == "{http://www.w3.org/2000/svg}svg"

    again = invoke(*command, "--json")
    peers = json.loads(again.out)["peers"]
    assert [(each["name"], each["version"]) for each in peers] == [
        ("ours, in process FP32", 1),
        ("ours, in process INT8", 2),
    ]
    assert "Round" not in again.err
    assert ": 2 of 2 rounds; --again measures anew" in again.err
    assert json.loads(again.out)["kept"]["rounds"] == 2


def measured(kind: Kind, precision: Precision, f1: float, *seconds: float, version: int = 1) -> Row:
    peer = Peer(kind, precision, version, floating_point="bf16")
    return Row(peer, 200, seconds, f1, f1, reason="" if seconds else "There is none.")


OURS = (
    measured(Kind.IN_PROCESS, Precision.FP32, 80.0, 4.0, 5.0),
    measured(Kind.LOCAL, Precision.INT8, 79.0, 2.0, 2.5, version=2),
    measured(Kind.OVMS, Precision.INT8, 74.0, 2.0, 2.5, version=2),
)
FOREIGN = measured(Kind.ONNX_RUNTIME, Precision.FP32, 80.0, 8.0, 9.0)


@pytest.fixture
def shown(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Shown:
    def show(*rows: Row, **changes: Any) -> Result:
        found = PeersComparison(rows, "the model", "dev", "0" * 64, 200, 2, 1, "a CPU")
        found = replace(found, **changes)
        monkeypatch.setattr("bertqa_build.bench.peers.run.compare_peers", lambda *_, **__: found)
        return invoke("bench", "peers", str(RECIPE), "--data", str(DATA))

    return show


def test_what_each_computes_in_is_shown_and_f1_of_one_version_that_differs(shown: Shown) -> None:
    result = shown(*OURS, FOREIGN)
    assert "computes in" in " ".join(result.out.split())
    assert "INT8, bf16" in result.out
    assert "F1 of version 2 differs by 5.00" in result.out
    assert "few may do that" in result.out
    assert "differs by" not in shown(*OURS[:2], FOREIGN).out


def test_one_round_has_no_spread_and_few_questions_are_warned_of(shown: Shown) -> None:
    rows = [replace(each, seconds=each.seconds[:1]) for each in OURS]
    one = shown(*rows, rounds=1, questions=40)
    assert "40 questions of dev; 1 round\n" in one.out
    assert "0%" not in one.out
    assert "40 questions: one answer moves F1 by up to 2.5 points" in one.err
    two = shown(*OURS, FOREIGN)
    assert "22%" in two.out
    assert "medians of 2 rounds" in two.out
    assert "one answer moves" not in two.err


def test_ours_have_their_version_and_the_ratio_needs_another_peer(shown: Shown) -> None:
    alone = shown(*OURS)
    assert "INT8, v2" in alone.out
    assert "ratio" not in alone.out
    compared = shown(*OURS, FOREIGN, measured(Kind.PYTORCH, Precision.FP32, 0.0))
    assert "not run" in compared.out
    assert re.search(r"ours, OVMS +.?INT8, v2", compared.out), "a row of the table in 80 columns"
    assert "FP32, v1" in compared.out
    assert "ratio" in compared.out
    assert "3.78x" in compared.out


def test_what_cannot_be_measured_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    assert set(PEERS) == set(Kind)
    recipe = str(Path(__file__).parents[3] / DEFAULT_RECIPE)

    unknown = invoke("bench", "peers", recipe, "--peer", "keras")
    assert (unknown.status, "'keras' is not one of 'pytorch'" in unknown.err) == (2, True)
    many = invoke("bench", "peers", recipe, "--threads", "9999", "--work-dir", str(tmp_path))
    assert (many.status, "9999 threads are more than" in many.err) == (2, True)
    empty = invoke(
        *("bench", "peers", recipe, "--repository", str(tmp_path)),
        *("--work-dir", str(tmp_path)),
    )
    assert (empty.status, "has no FP32 version" in empty.err) == (1, True)
