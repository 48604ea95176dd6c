from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from bertqa_build.bench.peers.plan import Kind
from bertqa_cli.verbs.bench_peers import DEFAULT_RECIPE, PEERS
from tests.cli.conftest import Invoke
from tests.support.demo import RECIPE, DemoBuild


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
    assert "2 questions of evaluation-sample.json; medians of 1 rounds" in result.out
    assert "ours, in process" in result.out
    assert "Lost is which share of the F1 of ours, in process FP32." in result.out
    assert ElementTree.parse(figure).getroot().tag == "{http://www.w3.org/2000/svg}svg"

    again = invoke(*command, "--json")
    peers = json.loads(again.out)["peers"]
    assert [(each["name"], each["version"]) for each in peers] == [
        ("ours, in process FP32", 1),
        ("ours, in process INT8", 2),
    ]
    assert "Round" not in again.err


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
