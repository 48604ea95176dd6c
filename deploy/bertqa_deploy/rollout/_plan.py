"""How a candidate comes by its traffic."""

from __future__ import annotations

from dataclasses import dataclass, field

from bertqa.errors import InvalidOptionError
from bertqa_deploy.rollout._analysis import Limits, OnInconclusive

AT_ONCE = (100,)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a candidate comes by its traffic.

    Attributes:
        steps: Percents of the traffic, ascending, at each of which the candidate is held.
        pause_seconds: How long it is held at each step and judged meanwhile; 0 for not at all.
        interval_seconds: The time between two measurements.
        delay_seconds: How long nothing is measured at the beginning of a step.
        limits: What it has to stay within.
        on_inconclusive: What follows where the evidence does not suffice.

    Raises:
        InvalidOptionError: The steps do not ascend or are not percents, or a time is negative.
    """

    steps: tuple[int, ...] = AT_ONCE
    pause_seconds: float = 0.0
    interval_seconds: float = 5.0
    delay_seconds: float = 0.0
    limits: Limits = field(default_factory=Limits)
    on_inconclusive: OnInconclusive = OnInconclusive.HOLD

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(set(self.steps)):
            raise InvalidOptionError(f"The steps {list(self.steps)} do not ascend.")
        if self.steps[0] < 1 or self.steps[-1] > 100:
            raise InvalidOptionError(f"The steps {list(self.steps)} are not percents, 1 to 100.")
        if self.interval_seconds <= 0 or min(self.pause_seconds, self.delay_seconds) < 0:
            raise InvalidOptionError("The interval has to be above 0, a pause or delay at least 0.")
        if 0 < self.pause_seconds <= self.delay_seconds:
            raise InvalidOptionError(
                f"A pause of {self.pause_seconds:g} s measures nothing after a delay of "
                f"{self.delay_seconds:g} s."
            )
