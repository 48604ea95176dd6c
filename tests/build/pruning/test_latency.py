"""The table of latencies: its form, and that larger modules do not take less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertqa.runtime.openvino import core
from bertqa_build.errors import BuildError
from bertqa_build.pruning.blocks import Encoder, attention_stack, feed_forward_stack
from bertqa_build.pruning.latency import LatencyTable, measure, place_here

SMALL = Encoder(hidden=32, heads=4, neurons=80)


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    place = place_here(SMALL, batch=2, tokens=16, precision="FP32", threads=1)
    seen: list[tuple[int, int]] = []
    found = measure(place, on_cell=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    return found


def test_every_size_has_a_time_that_does_not_fall(table: LatencyTable) -> None:
    assert list(table.attention) == [0, 1, 2, 3, 4]
    assert list(table.feed_forward) == [0, 32, 64, 80]
    for times in (table.attention, table.feed_forward):
        found = list(times.values())
        assert found[0] > 0
        assert found == sorted(found)


def test_a_table_is_read_as_it_was_written(table: LatencyTable, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table.write(path)
    assert LatencyTable.read(path) == table
    assert replace(table.place, threads=2) != LatencyTable.read(path).place


@pytest.mark.parametrize("text", ["", "{}", '{"place": 3}', "[1, 2]"])
def test_what_is_not_a_table_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BuildError, match="is not a latency table"):
        LatencyTable.read(path)
    with pytest.raises(BuildError, match="cannot be read"):
        LatencyTable.read(tmp_path / "absent")


@pytest.mark.parametrize("precision", ["FP32", "INT8"])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_stacks_run_in_their_precision(precision: str, size: int) -> None:
    stacks = {
        "attention": attention_stack(SMALL, size, 2, precision),  # type: ignore[arg-type]
        "feed_forward": feed_forward_stack(SMALL, 16 * size, 2, precision),  # type: ignore[arg-type]
    }
    for kind, stack in stacks.items():
        inputs = [np.random.default_rng(0).standard_normal((2, 8, 32), dtype=np.float32)]
        if kind == "attention" and len(stack.inputs) > 1:
            inputs.append(np.zeros((2, 1, 1, 8), dtype=np.float32))
        hints = {"INFERENCE_PRECISION_HINT": "f32"}
        output = core().compile_model(stack, "CPU", hints)(inputs)[0]
        assert output.shape == (2, 8, 32)
        assert np.isfinite(output).all()
        products = [each for each in stack.get_ops() if each.get_type_name() == "MatMul"]
        assert bool(products) == bool(size)
        quantizers = [each for each in stack.get_ops() if each.get_type_name() == "FakeQuantize"]
        assert bool(quantizers) == bool(size and precision == "INT8")
