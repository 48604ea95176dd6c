"""The speed-ups that a latency table predicts, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bertqa_build.pruning.choosing import milliseconds, most_speedup
from bertqa_build.pruning.latency import LatencyTable, neurons_step
from bertqa_build.pruning.sizes import LayerSize, Sizes

_SHARES = (0.75, 0.5, 0.25, 0.125)


@dataclass(frozen=True, slots=True)
class Uniform:
    """A model whose layers are all of one size, and how fast it is by the table."""

    heads: int
    neurons: int
    ms: float
    speedup: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A speed-up that is asked for, and the time that a request may then take."""

    speedup: float
    ms: float
    can_be_reached: bool


@dataclass(frozen=True, slots=True)
class Description:
    """What a latency table predicts.

    Attributes:
        table: The table.
        whole_ms: Milliseconds of a request in the unpruned model.
        max_speedup: The largest speed-up: that of a model of whose layers nothing is left.
        uniform: What layers of one size would reach.
        asked: The speed-ups that are asked for.
    """

    table: LatencyTable
    whole_ms: float
    max_speedup: float
    uniform: tuple[Uniform, ...]
    asked: tuple[Asked, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON output."""
        return asdict(self)


def describe(table: LatencyTable, sizes: Sizes, speedups: Sequence[float] = ()) -> Description:
    """Predict speed-ups by a latency table.

    Args:
        table: The table.
        sizes: The size of each layer of the unpruned model.
        speedups: Those that are asked for.

    Returns:
        The prediction.
    """
    whole = milliseconds(sizes, table)
    most = most_speedup(sizes, table)
    place = table.place
    step = neurons_step(place.neurons)
    shares = dict.fromkeys(
        LayerSize(
            max(1, round(share * place.heads)),
            max(1, round(share * place.neurons / step)) * step,
        )
        for share in _SHARES
    )
    times = {size: milliseconds((size,) * len(sizes), table) for size in shares}
    uniform = [
        Uniform(size.heads, size.neurons, time, whole / time)
        for size, time in times.items()
        if time < whole  # Else the model is smaller already.
    ]
    asked = [Asked(each, whole / each, each <= most) for each in speedups]
    return Description(table, whole, most, tuple(uniform), tuple(asked))
