"""Holding a rollout at a split, while each version that gains traffic is judged for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bertqa.artifact import Split
from bertqa_deploy.rollout._analysis import Held, Judgement, Sides, Verdict, judge
from bertqa_deploy.rollout._counts import Counts, Tally
from bertqa_deploy.rollout._plan import Plan
from bertqa_deploy.rollout._target import TrafficTarget
from bertqa_deploy.waiting import named


def hold(
    target: TrafficTarget,
    split: Split,
    good: Split,
    plan: Plan,
    sleep: Callable[[float], None],
    now: Callable[[], float],
) -> list[Held]:
    """Measure until the pause is over, or a limit was crossed too often.

    Args:
        target: The target, whose traffic is at the split.
        split: Percents by version.
        good: The split that is trusted: who has more than there is judged, each for itself.
        plan: For how long, how often and by which limits.
        sleep: Waits for some seconds.
        now: Returns a time in seconds that never goes back.

    Returns:
        What was seen of each version that gains traffic.

    Raises:
        BertQAError: The target cannot be measured, or a version is not there any more.
    """
    gains = [version for version in sorted(split) if split[version] > good.get(version, 0)]
    others = [version for version in sorted(split) if version not in gains]
    end = now() + plan.pause_seconds
    sleep(plan.delay_seconds)
    gaining = {version: Tally(_read(target, [version])) for version in gains}
    rest = Tally(_read(target, others))
    failures = 0
    while True:
        sleep(min(plan.interval_seconds, max(0.0, end - now())))
        for version, tally in gaining.items():
            tally.add(_read(target, [version]))
        rest.add(_read(target, others))
        held = [_judged(v, tally, rest, split, others, plan) for v, tally in gaining.items()]
        failures += any(each.verdict is Verdict.FAILED for each in held)
        if failures > plan.limits.failures or now() >= end:
            break
    if len(held) == 1:
        return held
    return [replace(each, reason=_of(each.version, each.reason)) for each in held]


def worst(held: Sequence[Held]) -> Judgement:
    """Return the worst verdict on several versions, with the reasons of all that have it.

    Args:
        held: What was seen of each.
    """
    ranks = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SUCCESSFUL)
    verdict = min((each.verdict for each in held), key=ranks.index)
    return Judgement(verdict, " ".join(each.reason for each in held if each.verdict is verdict))


def _of(version: int, reason: str) -> str:
    name = f"Version {version}"
    return reason if reason.startswith(f"{name} ") else f"{name}: {reason}"


def _judged(
    version: int, tally: Tally, rest: Tally, split: Split, others: list[int], plan: Plan
) -> Held:
    sides = Sides(f"version {version}", named(set(others)) if others else "")
    judgement = judge(rest if others else None, tally, plan.limits, sides)
    return Held(
        split,
        version,
        round(tally.total.requests),
        round(tally.total.failed),
        tally.total.p95_ms,
        rest.total.p95_ms,
        judgement.verdict,
        judgement.reason,
    )


def _read(target: TrafficTarget, versions: Sequence[int]) -> dict[str, Counts]:
    return {
        f"{server} ({version})" if len(versions) > 1 else server: counts
        for version in versions
        for server, counts in target.observe(version).items()
    }
