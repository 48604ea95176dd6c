"""Where the latency table of a recipe comes from, and which one is refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from bertqa_build.errors import BuildError, CheckpointError
from bertqa_build.families import family_of, model_types
from bertqa_build.pruning.blocks import Encoder
from bertqa_build.pruning.description import describe
from bertqa_build.pruning.latency import LatencyTable, place_here
from bertqa_build.pruning.sizes import LayerSize
from bertqa_build.pruning.tables import TableSource, cores, encoder_of
from bertqa_build.recipe import Recipe
from tests.support.families import FAMILIES

SMALL = Encoder(hidden=32, heads=4, neurons=64)


def table(**changes: object) -> LatencyTable:
    place = place_here(SMALL, batch=2, tokens=16, precision="INT8", threads=1)
    return LatencyTable(
        replace(place, **changes),  # type: ignore[arg-type]
        {heads: 0.5 + heads for heads in range(5)},
        {0: 0.5, 32: 1.0, replace(place, **changes).neurons: 2.0},  # type: ignore[arg-type]
        0.25,
    )


def recipe(folder: Path, **at: object) -> Recipe:
    values = {
        "name": "tiny",
        "source": "checkpoint",
        "data": {"train": ["train.json"], "evaluation": "evaluation.json"},
        "pruning": {
            "speedup": 2,
            "at": {"batch": 2, "tokens": 16} | at,
            "latency_table": "table.json",
        },
    }
    return Recipe.model_validate(values).in_directory(folder)


def source(folder: Path, *, strict: bool = False, **at: object) -> TableSource:
    return TableSource(recipe(folder, **at), SMALL, folder / "work", strict=strict)


def test_a_table_of_this_machine_is_taken(tmp_path: Path) -> None:
    table().write(tmp_path / "table.json")
    found = source(tmp_path, strict=True)
    assert found.table() == table()
    assert found.is_of_this_machine


@pytest.mark.parametrize("changed", [{"cpu": "another CPU"}, {"openvino": "2020.1"}])
def test_a_table_of_another_machine_is_warned_of_or_refused(
    tmp_path: Path, changed: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    table(**changed).write(tmp_path / "table.json")
    with caplog.at_level(logging.WARNING):
        found = source(tmp_path)
    assert not found.is_of_this_machine
    (value,) = changed.values()
    assert f"was measured with {value}" in caplog.text
    with pytest.raises(BuildError, match=f"was measured with {value}.*--strict"):
        source(tmp_path, strict=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"batch": 3},
        {"tokens": 32},
        {"precision": "FP32"},
        {"hidden": 64},
        {"neurons": 96},
    ],
)
def test_a_table_of_another_model_or_request_is_refused(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    table(**changed).write(tmp_path / "table.json")
    ((name, value),) = changed.items()
    with pytest.raises(BuildError, match=f"was measured for {name} {value}, and"):
        source(tmp_path)


def test_more_cores_than_there_are_need_a_table_that_is_handed_over(tmp_path: Path) -> None:
    made = recipe(tmp_path, threads=cores() + 1)
    assert made.pruning is not None
    alone = made.model_copy(
        update={"pruning": made.pruning.model_copy(update={"latency_table": None})}
    )
    with pytest.raises(BuildError, match=f"has {cores()} cores to measure"):
        TableSource(alone, SMALL, tmp_path / "work", strict=False)
    table(threads=cores() + 1).write(tmp_path / "table.json")
    assert not TableSource(made, SMALL, tmp_path / "work", strict=False).is_of_this_machine


@pytest.mark.parametrize(
    "spoilt",
    [
        {"attention": {0: 1.0, 1: 1.0}},
        {"attention": {1: 1.0, 4: 1.0}},
        {"attention": {-1: 1.0, 0: 1.0, 4: 1.0}},
        {"feed_forward": {0: 1.0, 64: 0.0}},
        {"rest": -1.0},
        {"rest": 1e300},
    ],
)
def test_a_table_that_lacks_sizes_or_times_is_refused(
    tmp_path: Path, spoilt: dict[str, object]
) -> None:
    path = tmp_path / "table.json"
    whole = table()
    with pytest.raises(ValueError, match=r"sizes should ascend|is not a time"):
        replace(whole, **spoilt)  # type: ignore[arg-type]
    path.write_text(whole.to_json().replace('"4": 4.5', '"3": 4.5'), encoding="utf-8")
    with pytest.raises(BuildError, match="is not a latency table"):
        LatencyTable.read(path)


@pytest.mark.parametrize("threads", [0, -3, 2**40])
def test_a_table_of_no_number_of_cores_is_refused(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "table.json"
    path.write_text(
        table().to_json().replace('"threads": 1', f'"threads": {threads}'), encoding="utf-8"
    )
    with pytest.raises(BuildError, match="is not a latency table"):
        source(tmp_path)


@pytest.mark.parametrize("kept", ["{", table(batch=3).to_json()], ids=["torn", "foreign"])
def test_a_damaged_table_of_an_earlier_build_says_what_to_do(tmp_path: Path, kept: str) -> None:
    values = recipe(tmp_path)
    assert values.pruning is not None
    pruning = values.pruning.model_copy(update={"latency_table": None})
    measured = TableSource(
        values.model_copy(update={"pruning": pruning}), SMALL, tmp_path, strict=False
    )
    measured.path.parent.mkdir()
    measured.path.write_text(kept, encoding="utf-8")
    with pytest.raises(BuildError, match=r"an earlier build measured, is damaged\. Remove it"):
        measured.table()


def test_a_family_without_standard_attention_is_refused() -> None:
    for row in FAMILIES:
        family = family_of(row.model_type)
        config = row.model().config
        if family.layer_names is not None:
            assert encoder_of(config, "x").heads == 4
            continue
        with pytest.raises(CheckpointError, match=rf"{family.name} has another attention.*bert,"):
            encoder_of(config, "x")
    assert len(FAMILIES) == len(model_types())


def test_what_can_be_reached_is_said_before_any_work() -> None:
    found = describe(table(), (LayerSize(4, 64),) * 2, [2, 30])
    assert found.whole_ms == pytest.approx(0.25 + 2 * (4.5 + 2.0))
    assert found.max_speedup == pytest.approx(found.whole_ms / 2.25)
    assert [each.can_be_reached for each in found.asked] == [True, False]
    assert found.asked[0].ms == pytest.approx(found.whole_ms / 2)
    assert [each.heads for each in found.uniform] == [3, 2, 1]
    smaller = describe(table(), (LayerSize(2, 32),) * 2)
    assert [each.heads for each in smaller.uniform] == [1]
    assert all(
        one.speedup <= other.speedup
        for one, other in zip(found.uniform, found.uniform[1:], strict=False)
    )
