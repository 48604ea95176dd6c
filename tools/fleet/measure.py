"""One, two and four replicas on this machine, as measured and as predicted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bertqa.load import Shape, Stage
from tools.fleet.local import AT_ONCE, Cost, Plan, cost_of, simulated, slowed, started
from tools.fleet.simulation import Outcome

COUNTS = (1, 2, 4)
# Of what the replicas are predicted to answer at most: high enough that some questions wait.
LOADS = (0.3, 0.6)
SLOW_SPEED, SLOW_LOAD = 0.25, 0.5
POLICIES = ("round robin", "turn or fewer")
_SIMULATED_SECONDS = 600.0
_DIGITS = 4


def measure(plan: Plan, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure what a question costs, and compare predictions with measurements.

    Args:
        plan: What is measured.
        log: Called with a line for each measurement.

    Returns:
        The figures for `measured.json`.
    """
    with started(plan, 1, POLICIES[1]) as (system, _):
        cost = cost_of(system.stage(Shape(at_once=1)))
    log(f"A question: {1000 * cost.service.mean:.1f} ms of a replica's core.")
    most = {
        count: _rate(simulated(cost, count, POLICIES[1], Shape(at_once=AT_ONCE), 60.0))
        for count in COUNTS
    }
    compared, slow = [], []
    for count in COUNTS:
        shapes = [Shape(at_once=AT_ONCE)]
        shapes += [Shape(rate=round(load * most[count], 2)) for load in LOADS]
        with started(plan, count, POLICIES[1]) as (system, _):
            for shape in shapes:
                compared.append(
                    {"replicas": count, **_both(system.stage(shape), cost, count, POLICIES[1])}
                )
                log(json.dumps(compared[-1]))
    count = COUNTS[-1]
    shape = Shape(rate=round(SLOW_LOAD * most[count], 2))
    for policy in POLICIES:
        for speed in (1.0, SLOW_SPEED):
            with started(plan, count, policy) as (system, servers):
                first = servers[0].process
                with slowed(first, speed) if speed < 1 else nullcontext():
                    stage = system.stage(shape)
            slow.append(
                {
                    "policy": policy,
                    "speed_of_first": speed,
                    **_both(stage, cost, count, policy, speed),
                }
            )
            log(json.dumps(slow[-1]))
    return {
        "question": {
            "core_ms": [round(1000 * each, _DIGITS) for each in cost.service.quantiles],
            "rest_ms": round(1000 * cost.service.rest, _DIGITS),
            "client_ms": round(1000 * cost.client_seconds, _DIGITS),
        },
        "compared": compared,
        "slow": slow,
    }


def _both(stage: Stage, cost: Cost, count: int, policy: str, slow: float = 1.0) -> dict[str, Any]:
    predicted = simulated(cost, count, policy, stage.shape, _SIMULATED_SECONDS, slow=slow)
    return {
        "load": str(stage.shape),
        "measured": {
            "questions_per_second": round(stage.questions_per_second, 2),
            **{
                f"p{percent}_ms": round(stage.quantile_ms(percent) or 0.0, 2)
                for percent in (50, 99)
            },
        },
        "predicted": {
            "questions_per_second": round(_rate(predicted), 2),
            **{f"p{percent}_ms": round(predicted.quantile_ms(percent), 2) for percent in (50, 99)},
        },
        "errors": stage.errors,
        "asked_late": stage.is_late,
    }


def _rate(outcome: Outcome) -> float:
    return outcome.asked / float((outcome.arrived + outcome.latencies).max())


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write figures.

    Args:
        path: The file.
        figures: The figures.
    """
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
