"""The sizes of a model's layers for a speed-up: a table, the pruner and the search together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bertqa_build.errors import BuildError
from bertqa_build.pruning.allocation import Choices, search
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.one_shot import Pruner
from bertqa_build.pruning.sizes import LayerSize, Sizes


def milliseconds(sizes: Sizes, table: LatencyTable) -> float:
    """Return how long an encoder takes by a table.

    Args:
        sizes: The size of each layer; each is one that was measured.
        table: The latencies.
    """
    return sum(table.attention[size.heads] + table.feed_forward[size.neurons] for size in sizes)


def whole_sizes(table: LatencyTable, layers: int) -> Sizes:
    """Return the sizes of an encoder that is not pruned.

    Args:
        table: A table for such encoders.
        layers: How many layers it has.
    """
    return (LayerSize(table.place.heads, table.place.neurons),) * layers


def most_speedup(table: LatencyTable) -> float:
    """Return how many times faster an encoder is of which every module was dropped.

    Args:
        table: The latencies.
    """
    whole = table.attention[table.place.heads] + table.feed_forward[table.place.neurons]
    return whole / (table.attention[0] + table.feed_forward[0])


def choose_sizes(
    pruner: Pruner,
    table: LatencyTable,
    speedup: float,
    *,
    trials: int,
    seed: int,
    on_trial: Callable[[int, float], None] = lambda _, __: None,
) -> Sizes:
    """Choose the sizes of a model's layers, so that its encoder is so many times faster.

    Args:
        pruner: The pruner of the model, which may be pruned already.
        table: The latencies of its modules.
        speedup: How many times faster than the unpruned encoder.
        trials: How many changes the search tries.
        seed: Decides the changes.
        on_trial: Called after each trial with its number and the least loss so far.

    Returns:
        The size of each layer.

    Raises:
        BuildError: No sizes are so fast; the message says how fast some are.
    """
    most = most_speedup(table)
    modules = offered(pruner, table)
    layers = len(modules) // 2
    budget = milliseconds(whole_sizes(table, layers), table) / speedup
    try:
        chosen = search(
            modules,
            budget,
            lambda choice: pruner.loss(_sizes(modules, choice)),
            trials=trials,
            seed=seed,
            on_trial=on_trial,
        )
    except ValueError as error:
        raise BuildError(
            f"A speed-up of {speedup:g} cannot be reached: an encoder of which nothing is left is "
            f"{most:.1f} times as fast as the whole one, by the latency table. Choose less."
        ) from error
    return _sizes(modules, chosen)


def offered(pruner: Pruner, table: LatencyTable) -> list[Choices]:
    """Return the sizes that each module can have: the attention and the feed-forward of each layer.

    Args:
        pruner: The pruner of the model.
        table: The latencies.

    Returns:
        The modules in the order of the layers, with milliseconds in place of seconds.
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
