"""How long each module of an encoder takes at every size: a table that is measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bertqa.artifact import write_whole
from bertqa.evaluation import take_turns, time_call
from bertqa_build.errors import BuildError
from bertqa_build.machine import cpu_name
from bertqa_build.pruning.blocks import (
    Encoder,
    Precision,
    attention_stack,
    feed_forward_stack,
)

NEURONS_STEP = 32
_COPIES = 4
_REPEATS = 7
# A stack that takes less is run several times in a row.
_AT_LEAST_SECONDS = 0.02


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
    threads: int
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
    """

    place: Place
    attention: dict[int, float]
    feed_forward: dict[int, float]

    def write(self, path: Path) -> None:
        """Write the table as JSON.

        Args:
            path: The file.
        """
        write_whole(path, _TABLE.dump_json(self, indent=1).decode() + "\n")

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Read a table.

        Args:
            path: The file.

        Raises:
            BuildError: It cannot be read, or is not a table.
        """
        try:
            return _TABLE.validate_json(path.read_bytes())
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

    All sizes take turns, so that what else the machine does harms all alike; a time is the median
    over the rounds.

    Args:
        place: What to measure; it names this machine.
        on_cell: Called with the number of measurements that are done, and how many there are.

    Returns:
        The table, in which a larger module never takes less time than a smaller one.
    """
    encoder = place.encoder
    heads = list(range(encoder.heads + 1))
    neurons = [*range(0, encoder.neurons, NEURONS_STEP), encoder.neurons]
    cells = [("attention", size) for size in heads] + [("feed_forward", size) for size in neurons]
    compiled = {}
    for kind, size in cells:
        stack = attention_stack if kind == "attention" else feed_forward_stack
        compiled[kind, size] = _Compiled(stack(encoder, size, _COPIES, place.precision), place)
        on_cell(len(compiled), len(cells) * (1 + _REPEATS))
    times = take_turns(
        {cell: each.milliseconds for cell, each in compiled.items()},
        _REPEATS,
        on_turn=lambda turn: on_cell(len(cells) * (1 + turn), len(cells) * (1 + _REPEATS)),
    )
    medians = {cell: statistics.median(found) / _COPIES for cell, found in times.items()}
    return LatencyTable(
        place,
        _rising(heads, [medians["attention", size] for size in heads]),
        _rising(neurons, [medians["feed_forward", size] for size in neurons]),
    )


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
        cpu=cpu_name(),
        openvino=ov.get_version().partition("-")[0],
        threads=threads,
        batch=batch,
        tokens=tokens,
        precision=precision,
        hidden=encoder.hidden,
        heads=encoder.heads,
        neurons=encoder.neurons,
    )


class _Compiled:
    """A stack that is ready to run."""

    def __init__(self, model: ov.Model, place: Place) -> None:
        properties = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": place.threads,
            "NUM_STREAMS": 1,
        }
        self._request = ov.Core().compile_model(model, "CPU", properties).create_infer_request()
        chance = np.random.default_rng(0)
        shape = (place.batch, place.tokens, place.hidden)
        inputs = {"hidden": chance.standard_normal(shape, dtype=np.float32)}
        if len(model.inputs) > 1:
            inputs["mask"] = np.zeros((place.batch, 1, 1, place.tokens), dtype=np.float32)
        names = [port.get_node().friendly_name for port in model.inputs]
        self._inputs = [inputs[name] for name in names]
        self._request.infer(self._inputs)

    def milliseconds(self) -> float:
        return 1000 * time_call(lambda: self._request.infer(self._inputs), _AT_LEAST_SECONDS)


def _rising(sizes: Sequence[int], times: Sequence[float]) -> dict[int, float]:
    """Return times that never fall where the size rises: what falls is noise."""
    risen = np.maximum.accumulate(np.minimum.accumulate(np.array(times)[::-1])[::-1])
    return dict(zip(sizes, map(float, risen), strict=True))
