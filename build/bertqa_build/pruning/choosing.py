"""The sizes of a model's layers for a speed-up: a table, the pruner and the search together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bertqa_build.errors import BuildError
from bertqa_build.pruning.allocation import Choices, allocate, search
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.one_shot import Pruner
from bertqa_build.pruning.sizes import LayerSize, Sizes

_CORRECTIONS = 4
_CLOSE = 0.01
_FARTHEST = 1.5


def milliseconds(sizes: Sizes, table: LatencyTable) -> float:
    """Return how long a model takes by a table, with its embeddings and its head.

    Args:
        sizes: The size of each layer; between two that were measured, times are interpolated.
        table: The latencies.
    """
    return table.rest + sum(
        _time(table.attention, size.heads) + _time(table.feed_forward, size.neurons)
        for size in sizes
    )


def most_speedup(sizes: Sizes, table: LatencyTable) -> float:
    """Return how many times faster a model is of whose layers every module was dropped.

    Args:
        sizes: The size of each layer before.
        table: The latencies.
    """
    return milliseconds(sizes, table) / milliseconds((LayerSize(0, 0),) * len(sizes), table)


def require_reachable(speedup: float, sizes: Sizes, table: LatencyTable) -> None:
    """Refuse a speed-up that a model has not even without its layers.

    Args:
        speedup: How many times faster than the unpruned model.
        sizes: The size of each layer of that.
        table: The latencies.

    Raises:
        BuildError: It has not; the message says the largest one.
    """
    most = most_speedup(sizes, table)
    if speedup > most:
        place = table.place
        raise BuildError(
            f"A speed-up of {speedup:g} cannot be reached: a model of whose layers nothing is left "
            f"is {most:.1f} times as fast as the whole one, by the latency table for "
            f"{place.batch} windows of {place.tokens} tokens in {place.precision}. Ask for less."
        )


def choose_sizes(
    pruner: Pruner,
    table: LatencyTable,
    speedup: float,
    whole: Sizes,
    *,
    trials: int,
    seed: int,
    measured: Callable[[Sizes], float] | None = None,
    on_trial: Callable[[int, float], None] = lambda _, __: None,
) -> Sizes:
    """Choose the sizes of a model's layers, so that it is so many times as fast as a whole one.

    The table's times do not quite add up in a model. Where models can be measured, the time that
    may be spent is corrected until what is chosen is as fast as was asked.

    Args:
        pruner: The pruner of the model, which may be pruned already.
        table: The latencies of its modules.
        speedup: How many times as fast it should be.
        whole: The size of each layer of the whole model.
        trials: How many changes the search tries.
        seed: Decides the changes.
        measured: Returns how many times as fast a model of some sizes is; None where this is not
            the machine that the versions are for.
        on_trial: Called after each trial with its number and the least loss so far.

    Returns:
        The size of each layer.
    """
    modules = offered(pruner, table)
    least = sum(float(module.times.min()) for module in modules)
    predicted = milliseconds(whole, table) / speedup - table.rest
    budget = max(least, predicted)
    tried: dict[float, float] = {}
    for _ in range(_CORRECTIONS if measured else 0):
        assert measured is not None
        found = measured(_sizes(modules, allocate(modules, budget))) / speedup
        tried[abs(found - 1)] = budget
        if abs(found - 1) < _CLOSE:
            break
        # What is measured wavers too, so that it moves the budget within limits.
        budget = float(np.clip(budget * found, predicted / _FARTHEST, predicted * _FARTHEST))
        budget = max(least, budget)
    budget = tried[min(tried)] if tried else budget
    chosen = search(
        modules,
        budget,
        lambda choice: pruner.loss(_sizes(modules, choice)),
        trials=trials,
        seed=seed,
        on_trial=on_trial,
    )
    return _sizes(modules, chosen)


def offered(pruner: Pruner, table: LatencyTable) -> list[Choices]:
    """Return the sizes that each module can have: the attention and the feed-forward of each layer.

    Args:
        pruner: The pruner of the model.
        table: The latencies.

    Returns:
        The modules in the order of the layers, with times in milliseconds.
    """
    modules = []
    for layer in range(pruner.layers):
        for is_attention in (True, False):
            times = table.attention if is_attention else table.feed_forward
            errors = pruner.removal(layer, attention=is_attention).errors.numpy()
            there = len(errors) - 1
            sizes = np.array(sorted({size for size in times if size <= there} | {0}))
            modules.append(
                Choices(
                    sizes,
                    np.array([times[int(size)] for size in sizes]),
                    np.array([errors[there - int(size)] for size in sizes]),
                )
            )
    return modules


def _sizes(modules: Sequence[Choices], choice: Sequence[int]) -> Sizes:
    found = [int(module.sizes[index]) for module, index in zip(modules, choice, strict=True)]
    return tuple(map(LayerSize, found[::2], found[1::2]))


def _time(times: Mapping[int, float], size: int) -> float:
    return float(np.interp(size, list(times), list(times.values())))
