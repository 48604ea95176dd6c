from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bertqa_build.bench.plan import EngineName
from bertqa_cli.verbs.bench import ENGINES
from tests.cli.conftest import Invoke
from tests.support.checkpoints import write_checkpoint


@pytest.mark.thorough
def test_a_measurement_as_text_json_and_figure(invoke: Invoke, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint")
    figure = tmp_path / "figure.svg"
    command = (
        *("bench", "--model", str(tmp_path / "checkpoint"), "--engine", "openvino"),
        *("--length", "8", "--batch", "2", "--repeats", "1", "--threads", "1"),
        *("--work-dir", str(tmp_path / "work")),
    )

    result = invoke(*command, "--plot", str(figure))
    assert result.status == 0, result.err
    assert "8 tokens, batch 2" in result.out
    assert "INT8" in result.out
    assert "What ran where" in result.out
    assert ElementTree.parse(figure).getroot().tag == "{http://www.w3.org/2000/svg}svg"

    again = invoke(*command, "--json")
    cells = json.loads(again.out)["cells"]
    assert {(cell["engine"], cell["tokens"], cell["batch"]) for cell in cells} == {
        ("OpenVINO", 8, 2)
    }


def test_what_cannot_be_measured_is_wrong_usage(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("bench", "--engine", "abacus")
    assert result.status == 2
    assert "'abacus' is not one of 'pytorch', 'onnx-runtime'" in result.err
    assert tuple(each.slug for each in EngineName) == ENGINES

    result = invoke("bench", "--plot", str(tmp_path / "absent" / "figure.svg"))
    assert result.status == 2
    assert "there is no directory" in result.err

    result = invoke("bench", "--model", str(tmp_path / "absent"), "--work-dir", str(tmp_path))
    assert result.status == 2
    assert "There is no directory" in result.err


@pytest.mark.thorough
def test_a_latency_table_is_written_shown_and_taken_by_a_recipe(
    invoke: Invoke, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "checkpoint")
    table = tmp_path / "table.json"
    command = (
        *("bench", "latency-table", str(table), "--model", str(tmp_path / "checkpoint")),
        *("--batch", "1", "--tokens", "16", "--threads", "1"),
    )
    result = invoke(*command)
    assert result.status == 0, result.err
    assert "1 windows of 16 tokens in INT8, threads: 1" in result.out
    assert "the largest speed-up" in result.out

    shown = json.loads(invoke(*command, "--precision", "FP32", "--json").out)
    assert shown["table"] == json.loads(table.read_text(encoding="utf-8"))
    assert shown["table"]["place"]["precision"] == "FP32"
    assert sorted(map(int, shown["table"]["attention"])) == [0, 1, 2, 3, 4]


def test_a_latency_table_that_cannot_be_made_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    table = str(tmp_path / "table.json")
    result = invoke("bench", "latency-table", table, "--precision", "INT4")
    assert result.status == 2
    assert "not one of 'INT8', 'FP32'" in result.err

    result = invoke("bench", "latency-table", table, "--threads", "9999")
    assert result.status == 2
    assert "this machine has" in result.err

    result = invoke("bench", "latency-table", table, "--model", "albert-base")
    assert result.status == 1
    assert "ALBERT has another attention than that of BERT" in result.err

    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    result = invoke("bench", "latency-table", table, "--model", str(checkpoint), "--tokens", "300")
    assert result.status == 1
    assert "--tokens is 300, but the checkpoint" in result.err
    assert "only 128 positions for tokens. Lower it." in result.err
    assert not (tmp_path / "table.json").exists()
