from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

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
    assert "no engine 'abacus': choose one of pytorch, onnx-runtime" in result.err

    result = invoke("bench", "--plot", str(tmp_path / "absent" / "figure.svg"))
    assert result.status == 2
    assert "there is no directory" in result.err

    result = invoke("bench", "--model", str(tmp_path / "absent"), "--work-dir", str(tmp_path))
    assert result.status == 2
    assert "There is no directory" in result.err
