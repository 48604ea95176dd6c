"""How long each module of an encoder takes at every size: a table that is measured."""

from __future__ import annotations

import functools
import logging
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import openvino as ov
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bertqa._reason import read_finite
from bertqa.artifact import cpu_title, write_whole
from bertqa.evaluation import take_turns, time_call
from bertqa.runtime.openvino import core
from bertqa_build.errors import BuildError
from bertqa_build.pruning.blocks import (
    VOCABULARY,
    Encoder,
    Precision,
    attention_stack,
    feed_forward_stack,
    whole_model,
)

NEURONS_STEP = 32
_ATTENTION, _FEED_FORWARD, _REST = "attention", "feed-forward", "rest"
_MOST_SIZES = 64
# Modules in a row that are timed together, and how many of a model's channels they may have in all.
_COPIES = 4
_MOST_CHANNELS = 2048
_REPEATS = 7
# A stack that takes less is run several times in a row.
_AT_LEAST_SECONDS = 0.02
_UNEVEN = 0.15
# Longer than any: what is damaged may have more, of which sums are infinite.
_MOST_MILLISECONDS = 1e9

Threads = Annotated[int, Field(ge=1, le=2**14)]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Place:
    """Where and how the modules run: a table holds for one place alone.

    Attributes:
        cpu: The model of the CPU, with what it has for INT8.
        openvino: The version of OpenVINO.
        threads: The cores that one request may use.
        batch: Windows in a request.
        tokens: Tokens in a window.
        precision: That of the matrix products.
        hidden: Channels of a hidden state.
        heads: Heads of a layer that is not pruned.
        neurons: Its feed-forward neurons.
    """

    cpu: str
    openvino: str
    threads: Threads
    batch: int
    tokens: int
    precision: Precision
    hidden: int
    heads: int
    neurons: int

    @property
    def encoder(self) -> Encoder:
        """The encoder's shape."""
        return Encoder(self.hidden, self.heads, self.neurons)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class LatencyTable:
    """Milliseconds that a module takes, by what is left of it.

    Attributes:
        place: Where that was measured.
        attention: Milliseconds by the number of heads, from 0 on.
        feed_forward: Milliseconds by the number of neurons.
        rest: Milliseconds that the embeddings and the head take, which are not pruned.
    """

    place: Place
    attention: dict[int, float]
    feed_forward: dict[int, float]
    rest: float

    def __post_init__(self) -> None:
        for times, whole in (
            (self.attention, self.place.heads),
            (self.feed_forward, self.place.neurons),
        ):
            sizes = list(times)
            if sizes != sorted(sizes) or [*sizes[:1], *sizes[-1:]] != [0, whole]:
                raise ValueError(f"sizes should ascend from 0 to {whole}")
        for time in (*self.attention.values(), *self.feed_forward.values(), self.rest):
            if not 0 < time < _MOST_MILLISECONDS:
                raise ValueError(f"{time} is not a time")

    def to_json(self) -> str:
        """Return the text of a table's file."""
        return _TABLE.dump_json(self, indent=1).decode() + "\n"

    def write(self, path: Path) -> None:
        """Write the table as JSON.

        Args:
            path: The file.
        """
        write_whole(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Read a table.

        Args:
            path: The file.

        Returns:
            The table.

        Raises:
            BuildError: It cannot be read, or is not a table.
        """
        try:
            return _TABLE.validate_json(read_finite(path))
        except OSError as error:
            raise BuildError(
                f"The latency table {path} cannot be read.", detail=str(error)
            ) from error
        except ValidationError as error:
            raise BuildError(
                f"{path} is not a latency table: `bert-qa bench latency-table` writes one.",
                detail=str(error),
            ) from error


_TABLE = TypeAdapter(LatencyTable)


def measure(place: Place, on_cell: Callable[[int, int], None] = lambda _, __: None) -> LatencyTable:
    """Measure a table on this machine.

    All sizes take turns, so that what else the machine does harms all alike; a time is the least
    of the rounds, because other programs only ever add to one. A warning says where they add much.

    Args:
        place: What to measure; it names this machine.
        on_cell: Called with the number of measurements that are done, and how many there are.

    Returns:
        The table, in which a larger module never takes less time than a smaller one.
    """
    encoder = place.encoder
    heads = list(range(encoder.heads + 1))
    neurons = [*range(0, encoder.neurons, neurons_step(encoder.neurons)), encoder.neurons]
    copies = max(1, min(_COPIES, _MOST_CHANNELS // encoder.hidden))
    models = {
        (kind, size): functools.partial(stack, encoder, size, copies, place.precision)
        for kind, stack, sizes in (
            (_ATTENTION, attention_stack, heads),
            (_FEED_FORWARD, feed_forward_stack, neurons),
        )
        for size in sizes
    } | {(_REST, 0): functools.partial(whole_model, encoder, (), place.precision)}
    steps = len(models) * (1 + _REPEATS)
    compiled = {}
    for cell, make in models.items():
        compiled[cell] = TimedModel(make(), place)
        on_cell(len(compiled), steps)
    times = take_turns(
        {cell: each.milliseconds for cell, each in compiled.items()},
        _REPEATS,
        on_turn=lambda turn: on_cell(len(models) * (1 + turn), steps),
    )
    least = {cell: min(found) for cell, found in times.items()}
    above = unevenness(times.values())
    if above > _UNEVEN:
        logger.warning(
            "Other programs slowed the measurement: the median time of a size is %.0f %% above its "
            "least. The table may be wrong, and versions that are pruned by it are then not those "
            "with the best F1 at their speed. Measure on an idle machine.",
            100 * above,
        )
    return LatencyTable(
        place,
        _rising(heads, [least[_ATTENTION, size] / copies for size in heads]),
        _rising(neurons, [least[_FEED_FORWARD, size] / copies for size in neurons]),
        least[_REST, 0],
    )


def unevenness(times: Iterable[Sequence[float]]) -> float:
    """Return by what share the times of a size are above their least, in the middle of all sizes.

    Args:
        times: The times of each size.
    """
    return statistics.median(statistics.median(each) / min(each) - 1 for each in times)


def neurons_step(neurons: int) -> int:
    """Return the steps in which neurons are removed: those of a kernel, or a few of them.

    Args:
        neurons: The neurons of a layer that is not pruned.
    """
    return NEURONS_STEP * -(-neurons // (NEURONS_STEP * _MOST_SIZES))


def place_here(
    encoder: Encoder, *, batch: int, tokens: int, precision: Precision, threads: int
) -> Place:
    """Return the place that this machine is.

    Args:
        encoder: The encoder's shape.
        batch: Windows in a request.
        tokens: Tokens in a window.
        precision: That of the matrix products.
        threads: The cores that one request may use.
    """
    return Place(
        cpu=cpu_title(),
        openvino=ov.get_version().partition("-")[0],
        threads=threads,
        batch=batch,
        tokens=tokens,
        precision=precision,
        hidden=encoder.hidden,
        heads=encoder.heads,
        neurons=encoder.neurons,
    )


def properties(threads: int) -> dict[str, str | int]:
    """Return the settings of OpenVINO under which one request runs alone.

    Args:
        threads: The cores that it may use.
    """
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }


class TimedModel:
    """A model of `blocks` that is ready to run.

    Args:
        model: The model.
        place: Where and how it runs.
    """

    def __init__(self, model: ov.Model, place: Place) -> None:
        compiled = core().compile_model(model, "CPU", properties(place.threads))
        self._request = compiled.create_infer_request()
        chance = np.random.default_rng(0)
        shape = (place.batch, place.tokens)
        inputs = {
            "hidden": chance.standard_normal((*shape, place.hidden), dtype=np.float32),
            "mask": np.zeros((place.batch, 1, 1, place.tokens), dtype=np.float32),
            "ids": chance.integers(VOCABULARY, size=shape),
        }
        names = [port.get_node().friendly_name for port in model.inputs]
        self._inputs = [inputs[name] for name in names]
        self._request.infer(self._inputs)

    def milliseconds(self) -> float:
        """Return how long a request takes."""
        return 1000 * time_call(lambda: self._request.infer(self._inputs), _AT_LEAST_SECONDS)


def _rising(sizes: Sequence[int], times: Sequence[float]) -> dict[int, float]:
    """Return times that never fall where the size rises: what falls is noise."""
    risen = np.maximum.accumulate(np.minimum.accumulate(np.array(times)[::-1])[::-1])
    return dict(zip(sizes, map(float, risen), strict=True))
