"""The sizes for a speed-up, by a table that no machine decides."""

from __future__ import annotations

import pytest

from bertqa_build.errors import BuildError
from bertqa_build.model import SpanModel
from bertqa_build.pruning.choosing import (
    choose_sizes,
    milliseconds,
    most_speedup,
    offered,
    require_reachable,
)
from bertqa_build.pruning.latency import LatencyTable, Place
from bertqa_build.pruning.one_shot import Pruner
from bertqa_build.pruning.sizes import LayerSize, Sizes
from tests.support.pruning import PRUNED, batches


@pytest.fixture(scope="module")
def pruner() -> Pruner:
    model = SpanModel(PRUNED[0].model())
    return Pruner(model, batches(model))


@pytest.fixture(scope="module")
def table(pruner: Pruner) -> LatencyTable:
    neurons = pruner.model.family.neurons(pruner.model.model.config)
    place = Place("a CPU", "2026.4", 2, 8, 192, "INT8", 32, 4, neurons)
    return LatencyTable(
        place,
        {heads: 0.5 + heads for heads in range(5)},
        {size: 0.5 + size / 8 for size in range(0, neurons + 1, 8)},
        0.25,
    )


def whole_sizes(table: LatencyTable, layers: int) -> Sizes:
    return (LayerSize(table.place.heads, table.place.neurons),) * layers


@pytest.mark.parametrize("speedup", [1.2, 2.0, 4.0])
def test_the_model_is_as_fast_as_was_asked(
    pruner: Pruner, table: LatencyTable, speedup: float
) -> None:
    sizes_of_whole = whole_sizes(table, pruner.layers)
    whole = milliseconds(sizes_of_whole, table)
    sizes = choose_sizes(pruner, table, speedup, sizes_of_whole, trials=5, seed=0)
    reached = whole / milliseconds(sizes, table)
    assert speedup <= reached < 1.25 * speedup
    assert sizes == choose_sizes(pruner, table, speedup, sizes_of_whole, trials=5, seed=0)


def test_a_speed_that_cannot_be_reached_is_refused_with_the_one_that_can(
    pruner: Pruner, table: LatencyTable
) -> None:
    whole = whole_sizes(table, pruner.layers)
    most = most_speedup(whole, table)
    require_reachable(most - 0.01, whole, table)
    with pytest.raises(BuildError, match=rf"of 99 cannot be reached.*is {most:.1f} times as fast"):
        require_reachable(99, whole, table)


def test_the_time_is_corrected_where_the_table_is_wrong(
    pruner: Pruner, table: LatencyTable
) -> None:
    whole = whole_sizes(table, pruner.layers)

    def measured(sizes: Sizes) -> float:
        """On this machine, a fifth of the whole model's time is in no module."""
        fixed = 0.2 * milliseconds(whole, table)
        return (milliseconds(whole, table) + fixed) / (milliseconds(sizes, table) + fixed)

    by_table = choose_sizes(pruner, table, 2.0, whole, trials=0, seed=0)
    corrected = choose_sizes(pruner, table, 2.0, whole, trials=0, seed=0, measured=measured)
    assert measured(by_table) < 1.9
    assert measured(corrected) == pytest.approx(2.0, rel=0.05)


def test_what_is_pruned_is_pruned_further_and_never_grows(
    pruner: Pruner, table: LatencyTable
) -> None:
    first = (LayerSize(2, 24),) + (LayerSize(0, 0),) * (pruner.layers - 1)
    pruned = pruner.independent(first)
    again = Pruner(pruned, batches(pruned))

    assert [int(each.sizes.max()) for each in offered(again, table)] == [2, 24] + [0, 0] * (
        pruner.layers - 1
    )
    second = choose_sizes(again, table, 1.3, first, trials=3, seed=0)
    for one, other in zip(first, second, strict=True):
        assert other.heads <= one.heads
        assert other.neurons <= one.neurons
    assert second != first
    again.pruned(second)
