"""Two systems in turn, so that what else the machine does meets both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bertqa.errors import BertQAError
from bertqa.evaluation import Interval
from bertqa.evaluation._statistics import student_mean
from bertqa.load._measure import System
from bertqa.load._stage import Shape, Stage

_Found = TypeVar("_Found")


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

    Args:
        first: The one.
        second: The other.
        shape: How questions come.
        rounds: How often each has its turn; see `in_turn`.

    Returns:
        The ratio, and the stages; see `ratio_of`.

    Raises:
        BertQAError: A process has ended, or nothing was answered.
    """
    found = in_turn(lambda: first.stage(shape), lambda: second.stage(shape), rounds)
    is_open = shape.is_open
    ratio = ratio_of([(_figure(a, is_open=is_open), _figure(b, is_open=is_open)) for a, b in found])
    names = first.target.title, second.target.title
    return LoadComparison(names, "p99" if is_open else "questions per second", ratio, found)


def in_turn(
    first: Callable[[], _Found], second: Callable[[], _Found], rounds: int
) -> list[tuple[_Found, _Found]]:
    """Call two functions in turn; every second round begins with the second.

    Args:
        first: The one.
        second: The other.
        rounds: How often each is called.

    Returns:
        What they returned, round by round.
    """
    found = []
    for number in range(rounds):
        if number % 2:
            later = second()
            found.append((first(), later))
        else:
            found.append((first(), second()))
    return found


def ratio_of(rounds: Sequence[tuple[float, float]]) -> Interval:
    """Return the ratio of the second figures to the first.

    It is the geometric mean of the rounds' ratios, and its interval Student's over their
    logarithms.

    Args:
        rounds: Both figures of each round, above 0; two rounds at least.
    """
    mean = student_mean([math.log(second / first) for first, second in rounds])
    return Interval(*(math.exp(each) for each in (mean.estimate, mean.low, mean.high)))


def _figure(stage: Stage, *, is_open: bool) -> float:
    found = stage.quantile_ms(99) if is_open else stage.questions_per_second
    if not found:
        kinds = ", ".join(stage.errors) or "the stage is too short"
        raise BertQAError(f"At {stage.shape} no question was answered ({kinds}).")
    return found
