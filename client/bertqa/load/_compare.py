"""Two systems in turn, so that what else the machine does meets both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertqa.errors import BertQAError
from bertqa.evaluation import Interval
from bertqa.evaluation._statistics import bootstrap_mean
from bertqa.load._measure import System
from bertqa.load._stage import Shape, Stage


@dataclass(frozen=True, slots=True)
class LoadComparison:
    """What came of two systems in turn.

    Attributes:
        names: What the two are called.
        figure: What is compared: "questions per second", or "p99" where the rate was the same.
        ratio: The second's figure divided by the first's, with its 95 % interval.
        rounds: The stages of both, round by round.
    """

    names: tuple[str, str]
    figure: str
    ratio: Interval
    rounds: Sequence[tuple[Stage, Stage]]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        ratio = self.ratio
        return {
            "first": self.names[0],
            "second": self.names[1],
            "figure": self.figure,
            "ratio": {"estimate": ratio.estimate, "low": ratio.low, "high": ratio.high},
            "rounds": [[each.to_dict() for each in both] for both in self.rounds],
        }


def compare_systems(first: System, second: System, shape: Shape, rounds: int) -> LoadComparison:
    """Run the same stage on two systems in turn.

    The ratio is the geometric mean of the rounds' ratios, and its interval Efron's percentile
    bootstrap over their logarithms.

    Args:
        first: The one.
        second: The other.
        shape: How questions come.
        rounds: How often each has its turn; every second round begins with the second.

    Returns:
        The ratio, and the stages.

    Raises:
        BertQAError: A process has ended, or nothing was answered.
    """
    found: list[tuple[Stage, Stage]] = []
    for number in range(rounds):
        if number % 2:
            later = second.stage(shape)
            found.append((first.stage(shape), later))
        else:
            found.append((first.stage(shape), second.stage(shape)))
    is_open = shape.is_open
    logs = [math.log(_figure(b, is_open=is_open) / _figure(a, is_open=is_open)) for a, b in found]
    mean = bootstrap_mean(logs)
    ratio = Interval(*(math.exp(each) for each in (mean.estimate, mean.low, mean.high)))
    names = first.target.title, second.target.title
    return LoadComparison(names, "p99" if is_open else "questions per second", ratio, found)


def _figure(stage: Stage, *, is_open: bool) -> float:
    found = stage.quantile_ms(99) if is_open else stage.questions_per_second
    if not found:
        kinds = ", ".join(stage.errors) or "the stage is too short"
        raise BertQAError(f"At {stage.shape} no question was answered ({kinds}).")
    return found
