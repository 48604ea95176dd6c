from __future__ import annotations

import pytest

from bertqa.errors import InvalidOptionError
from bertqa_deploy.rollout import Counts, Judgement, Limits, Sides, Tally, Verdict, judge

LIMITS = Limits(error_percent=1, p95_factor=1.5, requests=20)


def tally(succeeded: float, failed: float = 0, ms: float = 10, restarts: int = 0) -> Tally:
    """Return a tally of requests that took so long, all of them."""
    counted = Tally({"server": Counts()})
    total = succeeded + failed
    buckets = {ms * 1000 * 0.99: 0.0, ms * 1000: total, float("inf"): total}
    counted.add({"server": Counts(succeeded, failed, buckets, restarts)})
    return counted


def judged(candidate: Tally, good: Tally | None = None, limits: Limits = LIMITS) -> Judgement:
    return judge(tally(1000) if good is None else good, candidate, limits)


def test_no_evidence_is_inconclusive() -> None:
    judgement = judged(tally(0))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == (
        "The candidate got 0 of at least 20 requests: send some that follow the split while it is "
        "held, or pass --pause 0 to judge nowhere."
    )


def test_too_little_evidence_on_either_side_is_inconclusive() -> None:
    assert judged(tally(19)).verdict is Verdict.INCONCLUSIVE
    few = judged(tally(100), tally(19))
    assert few.verdict is Verdict.INCONCLUSIVE
    assert few.reason == (
        "The good version got 19 of at least 20 requests: a longer --pause gets more."
    )


@pytest.mark.parametrize(("succeeded", "failed"), [(0, 1), (0, 2), (18, 2), (300, 3), (97, 3)])
def test_noise_does_not_fail_a_candidate(succeeded: int, failed: int) -> None:
    assert judged(tally(succeeded, failed)).verdict is not Verdict.FAILED


@pytest.mark.parametrize(("succeeded", "failed"), [(0, 3), (17, 3), (95, 5), (9_800, 200)])
def test_more_failures_than_chance_explains_are_a_failure(succeeded: int, failed: int) -> None:
    judgement = judged(tally(succeeded, failed))
    assert judgement.verdict is Verdict.FAILED
    assert "and 1 % are allowed" in judgement.reason


def test_a_rate_above_the_limit_that_chance_explains_takes_more_requests() -> None:
    judgement = judged(tally(98, 2))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert "2 of 100 requests failed, which is between" in judgement.reason
    assert "more requests are needed" in judgement.reason
    assert "a longer --pause" in judgement.reason


def test_a_rate_within_the_limit_is_a_success() -> None:
    assert judged(tally(995, 5)).verdict is Verdict.SUCCESSFUL


def test_a_success_names_what_its_latency_was_compared_with() -> None:
    sides = Sides("version 2", "version 1")
    reason = judge(tally(100, ms=10), tally(100, ms=12), LIMITS, sides).reason
    assert reason == (
        "100 requests, 0.0 % failed, 95th percentile 12.0 ms: version 1 has 10.0 ms, and 1.5 times "
        "that, 15.0 ms, are allowed."
    )
    assert judge(None, tally(100), LIMITS).reason.endswith("10.0 ms: nothing to compare it with.")


def test_who_got_too_little_is_named() -> None:
    sides = Sides("version 2", "version 1")
    assert judge(tally(100), tally(17), LIMITS, sides).reason.startswith("Version 2 got 17 of")
    assert judge(tally(17), tally(100), LIMITS, sides).reason.startswith("Version 1 got 17 of")


def test_a_slow_candidate_fails() -> None:
    judgement = judged(tally(100, ms=40), tally(100, ms=10))
    assert judgement.verdict is Verdict.FAILED
    assert "95th percentile of its latency" in judgement.reason


def spread(*times: tuple[float, int]) -> Tally:
    """Return a tally of so many requests within each time in milliseconds, a bucket each."""
    counted, below, buckets = Tally({"server": Counts()}), 0, {}
    for ms, count in times:
        below += count
        buckets[ms * 1000] = float(below)
    counted.add({"server": Counts(below, 0, {**buckets, float("inf"): float(below)})})
    return counted


def test_a_few_slow_requests_among_few_are_not_a_slow_candidate() -> None:
    judgement = judged(spread((10, 18), (40, 2)), tally(100, ms=10))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == (
        "The 95th percentile of its latency is 25.0 ms (of 20 requests), and 1.5 times the 10.0 ms "
        "of the good version (of 100) are allowed: more requests are needed to tell that from "
        "chance, as with a longer --pause."
    )


def test_as_many_slow_requests_among_many_are_a_slow_candidate() -> None:
    judgement = judged(spread((10, 180), (40, 20)), tally(100, ms=10))
    assert judgement.verdict is Verdict.FAILED
    assert "(of 200 requests)" in judgement.reason


def test_a_good_version_of_which_little_is_known_may_be_as_slow() -> None:
    known, hardly = spread((10, 960), (80, 40)), spread((10, 24), (80, 1))
    candidate = spread((10, 100), (40, 100))
    assert judged(candidate, known).verdict is Verdict.FAILED
    assert judged(candidate, hardly).verdict is not Verdict.FAILED


def test_where_the_good_version_has_no_traffic_latency_is_not_judged() -> None:
    assert judge(None, tally(100, ms=1000), LIMITS).verdict is Verdict.SUCCESSFUL


def test_latency_that_was_not_counted_is_not_within_its_limit() -> None:
    untimed = Tally({})
    untimed.add({"server": Counts(succeeded=100)})
    for judgement, side in ((judged(untimed), "candidate"), (judged(tally(100), untimed), "good")):
        assert judgement.verdict is Verdict.INCONCLUSIVE
        assert f"How long the {side}" in judgement.reason


def test_a_candidate_whose_server_restarts_fails() -> None:
    judgement = judged(tally(100, restarts=1))
    assert judgement.verdict is Verdict.FAILED
    assert "restarted while it was held (server)" in judgement.reason


def test_limits_that_cannot_be_judged_by_are_refused() -> None:
    with pytest.raises(InvalidOptionError):
        Limits(requests=0)
