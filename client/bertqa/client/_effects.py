"""What a flow needs done: plain values that a driver executes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bertqa.qa import Logits, Window


class WindowResult(NamedTuple):
    """The logits of one window, and the version that computed them."""

    logits: Logits
    model_version: int


@dataclass(frozen=True, slots=True, eq=False)
class FetchMetadata:
    """Fetch the `ModelMetadata` of a version; None is the server's default."""

    version: int | None


@dataclass(frozen=True, slots=True, eq=False)
class RunInference:
    """Run the model on windows.

    A flow is sent a list with a `WindowResult` for each window, in their order; a driver, which
    runs batches of windows of several flows, hands over an `InferResult`.

    Attributes:
        windows: The windows.
        version: The version to run; None is the server's default.
    """

    windows: list[Window]
    version: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Sleep:
    """Let some seconds pass, in which nothing is on its way."""

    seconds: float


Request = FetchMetadata | RunInference
Effect = Request | Sleep
