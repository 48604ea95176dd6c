"""The table of latencies: its form, and that larger modules do not take less."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertqa.runtime.openvino import core
from bertqa_build.errors import BuildError
from bertqa_build.pruning import latency
from bertqa_build.pruning.blocks import Encoder, attention_stack, feed_forward_stack
from bertqa_build.pruning.latency import LatencyTable, measure, place_here, unevenness

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


def test_times_are_as_uneven_as_those_of_most_sizes() -> None:
    assert unevenness([[2.0, 2.0, 2.0], [1.0, 1.0, 9.0]]) == 0
    assert unevenness([[2.0, 3.0, 4.0], [1.0, 1.5, 9.0], [1.0, 1.0, 1.0]]) == 0.5


@pytest.mark.parametrize(("beside", "warnings"), [(0.0, 0), (1.0, 1)])
def test_a_table_of_a_busy_machine_is_warned_of(
    beside: float, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def busy(measures: dict[object, object], turns: int, **_: object) -> dict[object, list[float]]:
        return {each: [1.0, *[1 + beside] * (turns - 1)] for each in measures}

    monkeypatch.setattr(latency, "take_turns", busy)

    measure(place_here(SMALL, batch=1, tokens=8, precision="FP32", threads=1))

    assert len(caplog.messages) == warnings
    assert all("100 % above its least" in each for each in caplog.messages)


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
