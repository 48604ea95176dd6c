"""How fast versions are in this process, measured in turns on windows without meaning."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from tokenizers import Tokenizer

from bertqa.artifact import synthetic_inputs
from bertqa.evaluation import Samples, take_turns, time_call
from bertqa.runtime.openvino import OpenVINOEngine

_TURNS = 15

Key = TypeVar("Key", bound=Hashable)


def time_windows(
    engines: Mapping[Key, OpenVINOEngine], tokens: int, turns: int
) -> dict[Key, Samples]:
    """Time engines in turns, one window at a time.

    Args:
        engines: What is timed, by its name.
        tokens: The length of the window.
        turns: How often each is timed.

    Returns:
        The seconds of a window, by name.
    """
    inputs = {
        name: synthetic_inputs(1, tokens, names=engine.inputs, ids=range(_words(engine)))
        for name, engine in engines.items()
    }
    for name, engine in engines.items():
        engine.run(inputs[name])  # The first call compiles kernels.
    seconds = take_turns(
        {
            name: partial(time_call, partial(engine.run, inputs[name]))
            for name, engine in engines.items()
        },
        turns,
    )
    return {name: Samples(tuple(values)) for name, values in seconds.items()}


def latency_ratio(path: Path, parent: Path, tokens: int) -> float:
    """Measure how long a window takes in one IR, over how long it takes in another.

    Args:
        path: The IR that is judged.
        parent: The IR that it is compared with.
        tokens: The length of the window.

    Returns:
        The ratio of their medians, below 1 where the first is faster.
    """
    engines = {"version": OpenVINOEngine(path), "parent": OpenVINOEngine(parent)}
    samples = time_windows(engines, tokens, _TURNS)
    return samples["version"].median / samples["parent"].median


def _words(engine: OpenVINOEngine) -> int:
    count: int = Tokenizer.from_str(engine.info.tokenizer_json).get_vocab_size()
    return count
