"""What a flow needs done: plain values that a driver executes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bertqa.client._model_registry import ModelRegistry, ModelSpec
from bertqa.qa import Logits, Pace, Window
from bertqa.transport import ModelMetadata


class WindowResult(NamedTuple):
    """The logits of one window, and the version that computed them."""

    logits: Logits
    model_version: int


@dataclass(frozen=True, slots=True, eq=False)
class FetchMetadata:
    """Fetch the `ModelMetadata` of a version, unless another question has learnt it meanwhile.

    A flow is sent what `known` or `learn` returns. Of the questions of a client that need it at
    once, one fetches it; see `Flights`.

    Attributes:
        version: The version; None is the server's default.
        registry: Remembers the version.
        anew: Whether to fetch also what is known: the server may have other versions by now.
    """

    version: int | None
    registry: ModelRegistry
    anew: bool = False

    def known(self) -> ModelSpec | None:
        """Return what is known of the version by now."""
        return None if self.anew else self.registry.get(self.version)

    def learn(self, metadata: ModelMetadata) -> ModelSpec:
        """Remember the version; see `ModelRegistry.learn`."""
        return self.registry.learn(self.version, metadata)


@dataclass(frozen=True, slots=True, eq=False)
class RunInference:
    """Run the model on windows.

    A flow is sent a list with a `WindowResult` for each window, in their order; a driver, which
    runs batches of windows of several flows, hands over an `InferResult`.

    Attributes:
        windows: The windows.
        version: The version to run; None is the server's default.
    """

    windows: Sequence[Window]
    version: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Compute:
    """Work on a long text: it takes a while, beside which other work is done, and needs no server.

    Attributes:
        work: Returns what the flow is sent; it calls the pace between its steps.
    """

    work: Callable[[Pace], object]


@dataclass(frozen=True, slots=True, eq=False)
class Sleep:
    """Let some seconds pass, in which nothing is on its way."""

    seconds: float


Request = FetchMetadata | RunInference
Effect = Request | Compute | Sleep
