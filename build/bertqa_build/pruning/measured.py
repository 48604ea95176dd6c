"""How many times faster a version is than the unpruned ones, measured in turns on their files."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from bertqa.artifact import synthetic_inputs
from bertqa.evaluation import take_turns, time_call
from bertqa.runtime.openvino import core
from bertqa_build.pruning.blocks import whole_model
from bertqa_build.pruning.latency import Place, TimedModel, properties
from bertqa_build.pruning.sizes import Sizes

_TURNS, _MOST_TURNS = 25, 100
_SEEN, _ALIKE = 3, 1.03
_LOW_IDS = range(100)

Key = TypeVar("Key", bound=Hashable)

logger = logging.getLogger(__name__)


def milliseconds_of(irs: Mapping[Key, Path], place: Place) -> dict[Key, float]:
    """Time IRs in turns, under the settings of a latency table.

    Other programs only ever add to a time. Where they add to so many that the least of an IR was
    seen once or twice, it is timed longer, and at last warned of.

    Args:
        irs: What is timed, by its name.
        place: The request: windows, tokens and cores.

    Returns:
        The milliseconds of a request, the least of all turns, by name.
    """
    calls = {}
    for name, path in irs.items():
        compiled = core().compile_model(path, "CPU", properties(place.threads))
        names = [port.get_any_name() for port in compiled.inputs]
        inputs = synthetic_inputs(place.batch, place.tokens, names=names, ids=_LOW_IDS)
        request = compiled.create_infer_request()
        calls[name] = partial(time_call, partial(request.infer, dict(inputs)))
        calls[name]()
    seconds = take_turns(calls, _TURNS)
    while not all(map(is_certain, seconds.values())):
        if len(next(iter(seconds.values()))) >= _MOST_TURNS:
            logger.warning(
                "Other programs slowed the measurement: no time came near its least again in %d "
                "turns, so the speed that is recorded may be wrong. `bert-qa compare` measures "
                "again on an idle machine.",
                _MOST_TURNS,
            )
            break
        for name, more in take_turns(calls, _TURNS).items():
            seconds[name] += more
    return {name: 1000 * min(values) for name, values in seconds.items()}


def is_certain(times: Sequence[float]) -> bool:
    """Return whether the least of some times was seen thrice, within three percent.

    Args:
        times: The times of one thing, in any unit; at least three.
    """
    return sorted(times)[_SEEN - 1] <= _ALIKE * min(times)


def speedup_of(sizes: Sizes, whole: Sizes, place: Place) -> float:
    """Measure how many times faster a model of some sizes is; its weights are random.

    Args:
        sizes: The size of each layer.
        whole: The size of each layer of the model that it is compared with.
        place: The request, and the precision.

    Returns:
        The ratio of their times, measured in turns.
    """
    timed = {"pruned": _timed(sizes, place), "whole": _timed_whole(whole, place)}
    times = take_turns({name: each.milliseconds for name, each in timed.items()}, _TURNS)
    return min(times["whole"]) / min(times["pruned"])


def _timed(sizes: Sizes, place: Place) -> TimedModel:
    layers = [(size.heads, size.neurons) for size in sizes]
    return TimedModel(whole_model(place.encoder, layers, place.precision), place)


@lru_cache(maxsize=1)
def _timed_whole(sizes: Sizes, place: Place) -> TimedModel:
    """Return a model that several are compared with, compiled once."""
    return _timed(sizes, place)
