"""Judging a candidate by what the servers count, as Argo Rollouts' analysis does.

The verdict is Successful, Failed or Inconclusive. Shares of failures and of slow requests are
judged by their exact confidence interval: a candidate has failed only where chance does not explain
it, and too few requests are never a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from bertqa.errors import InvalidOptionError
from bertqa.evaluation import clopper_pearson
from bertqa_deploy.rollout._counts import P95, Counts, Tally

# One or two failures may be one event, such as a connection that ended.
_FEWEST = 3


class Verdict(StrEnum):
    """What an analysis comes to."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"


class OnInconclusive(StrEnum):
    """What follows where the evidence does not suffice."""

    HOLD = "hold"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate has to stay within while it is held at a step.

    Attributes:
        error_percent: The largest share of failed requests, in percent.
        p95_factor: The largest ratio of the 95th percentiles of latency, to the good versions'.
        disagreement_percent: The largest share of answers that differ from the good version's.
        requests: The number of requests, to either side, from which is judged.
        failures: The number of measurements that may fail before the rollout does.
    """

    error_percent: float = 1.0
    p95_factor: float = 1.5
    disagreement_percent: float = 25.0
    requests: int = 20
    failures: int = 0

    def __post_init__(self) -> None:
        if self.requests < 1 or self.failures < 0:
            raise InvalidOptionError(
                f"An analysis needs at least one request and no negative number of failures, "
                f"not {self.requests} and {self.failures}."
            )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason.

    Attributes:
        verdict: The verdict.
        reason: A sentence: which limit was crossed, what is missing, or what was seen.
    """

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """What was seen of a version while a rollout was held at a split.

    Attributes:
        split: Percents by version.
        version: The version that gains traffic.
        requests: The requests to it.
        failed: How many of them failed.
        p95_ms: The 95th percentile of their time in milliseconds; None without requests.
        good_p95_ms: That of the versions that it was compared with; None where there are none.
        verdict: What the analysis came to.
        reason: Why.
    """

    split: Mapping[int, float]
    version: int
    requests: int
    failed: int
    p95_ms: float | None
    good_p95_ms: float | None
    verdict: Verdict
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sides:
    """What the two sides of a judgement are called.

    Attributes:
        candidate: What is judged, as in "version 2".
        good: What it is compared with.
    """

    candidate: str = "the candidate"
    good: str = "the good version"


_SIDES = Sides()


def judge(good: Tally | None, candidate: Tally, limits: Limits, sides: Sides = _SIDES) -> Judgement:
    """Judge a candidate.

    Args:
        good: What the good versions counted while the candidate was held; None where they have no
            traffic, and so no latency to compare with.
        candidate: What the candidate counted.
        limits: What it has to stay within.
        sides: What the two are called.

    Returns:
        The verdict and its reason.
    """
    crossed = _errors(candidate.total, limits) or _restarts(candidate)
    if crossed is not None:
        return crossed
    needed = limits.requests
    few = _too_few(sides.candidate, candidate.total, needed)
    if few is not None:
        return few
    failed, requests = round(candidate.total.failed), round(candidate.total.requests)
    doubt = doubt_about_share(
        failed, requests, limits.error_percent, "requests", "failed", "--pause"
    )
    if doubt is not None:
        return doubt
    if good is None:
        return _successful(candidate.total, ": nothing to compare it with")
    few = _too_few(sides.good, good.total, needed)
    if few is not None:
        return few
    for side, counts in ((sides.candidate, candidate.total), (sides.good, good.total)):
        if counts.p95_ms is None:
            return inconclusive(f"how long {side} took to answer was not counted")
    slow = judge_latency(good.total, candidate.total, limits, sides.good, "--pause")
    return slow or _successful(candidate.total, _compared(good.total.p95_ms, limits, sides.good))


class Latencies(Protocol):
    """How long the requests to one side took."""

    @property
    def timed(self) -> int:
        """The number of requests whose time is known; at least one is judged by."""
        ...

    def quantile_ms(self, share: float) -> float:
        """Return the time within which a share of the requests was answered, in milliseconds.

        Args:
            share: From 0 to 1.
        """
        ...

    def slower_than(self, milliseconds: float) -> int:
        """Return how many requests took longer.

        Args:
            milliseconds: The time.
        """
        ...


def judge_latency(
    good: Latencies, candidate: Latencies, limits: Limits, good_name: str, longer: str
) -> Judgement | None:
    """Return why a candidate is too slow, or may be, None where it is not.

    Its 95th percentile is above a time beyond chance where the share of requests that took longer
    is above 5 % beyond chance. The time is the upper end of what the good version's percentile,
    an order statistic, may be, times the factor.

    Args:
        good: How long requests to the good version took.
        candidate: How long those to the candidate took.
        limits: What it has to stay within.
        good_name: What the good version is called.
        longer: The option that brings more requests.
    """
    good_ms, candidate_ms = good.quantile_ms(P95), candidate.quantile_ms(P95)
    if candidate_ms <= limits.p95_factor * good_ms:
        return None
    highest = clopper_pearson(round(P95 * good.timed), good.timed).high
    slower = candidate.slower_than(limits.p95_factor * good.quantile_ms(highest))
    seen = (
        f"The 95th percentile of its latency is {candidate_ms:.1f} ms (of {candidate.timed} "
        f"requests), and {limits.p95_factor:g} times the {good_ms:.1f} ms of {good_name} (of "
        f"{good.timed}) are allowed"
    )
    if clopper_pearson(slower, candidate.timed).low > 1 - P95:
        return Judgement(Verdict.FAILED, f"{seen}.")
    return inconclusive(
        f"{seen}: more requests are needed to tell that from chance, as with a longer {longer}"
    )


def judge_share(count: int, total: int, allowed: float, sentence: str) -> Judgement | None:
    """Return that a share is above its limit by more than chance, None where it is not.

    Args:
        count: How often it happened.
        total: Of how many.
        allowed: The limit in percent.
        sentence: What happened, with the share as `{share}`.
    """
    found = clopper_pearson(count, total)
    if count < _FEWEST or 100 * found.low <= allowed:
        return None
    return Judgement(
        Verdict.FAILED,
        f"{sentence.format(share=f'{100 * found.estimate:.1f} %')}, at least "
        f"{100 * found.low:.1f} % beyond chance, and {allowed:g} % are allowed.",
    )


def doubt_about_share(
    count: int, total: int, allowed: float, things: str, happened: str, longer: str
) -> Judgement | None:
    """Return that chance may explain a share above its limit, None where it is not above.

    Args:
        count: How often it happened.
        total: Of how many.
        allowed: The limit in percent.
        things: What was counted, as in "requests".
        happened: What happened to them, as in "failed".
        longer: The option that brings more of them.
    """
    if 100 * count <= allowed * total:
        return None
    found = clopper_pearson(count, total)
    return inconclusive(
        f"{count} of {total} {things} {happened}, which is between {100 * found.low:.1f} and "
        f"{100 * found.high:.1f} %: more {things} are needed to tell that from the {allowed:g} % "
        f"that are allowed, as with a longer {longer}"
    )


def _errors(counts: Counts, limits: Limits) -> Judgement | None:
    requests = round(counts.requests)
    sentence = f"{{share}} of {requests} requests failed"
    return judge_share(round(counts.failed), requests, limits.error_percent, sentence)


def _restarts(candidate: Tally) -> Judgement | None:
    if not candidate.restarts:
        return None
    where = ", ".join(sorted(candidate.restarts))
    return Judgement(Verdict.FAILED, f"Its server restarted while it was held ({where}).")


def _too_few(side: str, counts: Counts, needed: int) -> Judgement | None:
    if counts.requests >= needed:
        return None
    # Where none came at all, nobody may ask by the way that is split, however long it is held.
    more = (
        "a longer --pause gets more"
        if counts.requests
        else "send some that follow the split while it is held, or pass --pause 0 to judge nowhere"
    )
    return inconclusive(f"{side} got {counts.requests:.0f} of at least {needed} requests: {more}")


def _compared(good_ms: float | None, limits: Limits, good: str) -> str:
    """Return what the latency of a candidate is compared with."""
    if good_ms is None:
        return ""
    return (
        f": {good} has {good_ms:.1f} ms, and {limits.p95_factor:g} times that, "
        f"{limits.p95_factor * good_ms:.1f} ms, are allowed"
    )


def inconclusive(reason: str) -> Judgement:
    """Return that the evidence does not suffice.

    Args:
        reason: Why, as a sentence that lacks its capital and its full stop.
    """
    return Judgement(Verdict.INCONCLUSIVE, f"{reason[0].upper()}{reason[1:]}.")


def _successful(counts: Counts, compared: str) -> Judgement:
    p95 = "" if counts.p95_ms is None else f", 95th percentile {counts.p95_ms:.1f} ms{compared}"
    return Judgement(
        Verdict.SUCCESSFUL,
        f"{counts.requests:.0f} requests, {counts.error_percent:.1f} % failed{p95}.",
    )
