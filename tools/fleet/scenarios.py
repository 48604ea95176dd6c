"""What is simulated: pods of four cores that answer what was measured, from 1 question a second."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from simpy import Event

from tools.fleet.autoscaler import Autoscaler, Scaling
from tools.fleet.model import Replica
from tools.fleet.simulation import QUESTIONS_OF_A_CLIENT, Fleet, Outcome, Service

PROMISE_MS = 100.0
STREAMS = 4
RATES = (1, 10, 100, 300, 1_000, 3_000, 10_000)
COUNTED = ("random", "round robin", "turn or fewer", "least requests")
CLIENT_POLICY = "turn or fewer"
RATE = 1_000.0
SLOW_SPEED = 0.25
# Kernels that are compiled for shapes not met before: docs/ovms.md.
_COLD_QUESTIONS, _COLD_SPEED = 200, 0.4
_JUDGED = 20_000
# With so many times the pods that compute all day, questions hardly wait for each other.
_MOST_OF_NEEDED = 10
_EVENT_AT, _LONG = 30.0, 150.0
_START_SECONDS = 20.0
_SILENT_SECONDS = 5.0
_LOADING_SECONDS, _LOADING_SPEED = 10.0, 0.5
_DIGITS = 3

Disturbance = Callable[[Fleet], Generator[Event, Any, None]]
Log = Callable[[str], None]


def clients_of(rate: float) -> int:
    """Return how many clients share a rate.

    Args:
        rate: Questions per second.
    """
    return max(1, math.ceil(rate / QUESTIONS_OF_A_CLIENT))


def steady(service: Service, policy: str, pods: int, rate: float, slow: float = 1.0) -> Outcome:
    """Return what a steady rate gets of pods.

    Args:
        service: What a question costs.
        policy: How clients balance.
        pods: How many there are.
        rate: Questions per second.
        slow: The speed of the first pod.
    """
    fleet = Fleet(service, policy, clients=clients_of(rate))
    fleet.add(*(Replica(fleet.env, STREAMS, speed=slow if not at else 1.0) for at in range(pods)))
    seconds = max(5.0, _JUDGED / rate)
    return fleet.run(rate, seconds).between(seconds / 10, seconds)


def pods_for(
    service: Service, policy: str, rate: float, promise_ms: float = PROMISE_MS
) -> tuple[int, Outcome]:
    """Return the fewest pods with which 99 % of the questions keep the promise.

    Args:
        service: What a question costs.
        policy: How clients balance.
        rate: Questions per second.
        promise_ms: What 99 % of the questions take at most, in ms.

    Raises:
        ValueError: A question alone takes so long that no number of pods keeps the promise.
    """
    alone = service.quantile_ms(99)
    unkept = (
        f"With {alone:.0f} ms for the 99th percentile of a question alone, more pods do not keep "
        f"the promise of {promise_ms:g} ms: the questions have to cost less."
    )
    if alone > promise_ms:
        raise ValueError(unkept)
    least = math.floor(rate * service.mean / STREAMS)
    low, high = least, 2 * least + 2
    found: dict[int, Outcome] = {}
    while high - low > 1 or high not in found:
        pods = (low + high) // 2 if high in found else high
        found[pods] = steady(service, policy, pods, rate)
        if found[pods].quantile_ms(99) <= promise_ms:
            high = pods
        elif pods == high:
            if high > _MOST_OF_NEEDED * (least + 1):
                raise ValueError(unkept)
            low, high = high, 2 * high
        else:
            low = pods
    return high, found[high]


def counts(service: Service, log: Log) -> list[dict[str, Any]]:
    """Return how many pods each rate needs, by how clients balance.

    Args:
        service: What a question costs.
        log: Called with a line for each.
    """
    rows = []
    for rate in RATES:
        row: dict[str, Any] = {"rate": rate, "pods": {}, "p99_ms": {}}
        for policy in COUNTED:
            pods, outcome = pods_for(service, policy, rate)
            row["pods"][policy] = pods
            row["p99_ms"][policy] = _round(outcome.quantile_ms(99))
        rows.append(row)
        log(f"{rate} questions a second: {row['pods']}")
    return rows


def balancing(service: Service, log: Log) -> list[dict[str, Any]]:
    """Return what a slow node does to the tail, and which calls a pod draws that fails at once.

    Args:
        service: What a question costs.
        log: Called with a line for each.
    """
    pods = _usual_pods(service)
    rows = []
    for policy in COUNTED:
        for speed in (1.0, SLOW_SPEED):
            outcome = steady(service, policy, pods, RATE, speed)
            rows.append({"policy": policy, "pods": pods, "speed": speed, **_tail(outcome)})
        rows[-1]["drawn_by_failing"] = _round(_drawn(service, policy, pods))
        log(f"{policy}: {rows[-2]['p99_ms']} ms, with a slow node {rows[-1]['p99_ms']} ms")
    return rows


def _drawn(service: Service, policy: str, pods: int) -> float:
    """Return which part of all calls one pod has that answers each within a hundredth."""
    fleet = Fleet(service, policy, clients=clients_of(RATE))
    failing = Replica(fleet.env, STREAMS, work_factor=0.01)
    fleet.add(failing, *(Replica(fleet.env, STREAMS) for _ in range(pods - 1)))
    outcome = fleet.run(RATE, 20.0)
    return failing.used / (0.01 * service.mean) / outcome.asked


def disturbances(service: Service, log: Log) -> dict[str, list[dict[str, Any]]]:
    """Return what rolling updates, the loss of a zone and a switch do to the tail.

    Args:
        service: What a question costs.
        log: Called with a line for each.
    """
    usual = _usual_pods(service)
    spare = math.ceil(1.5 * usual)
    kinds: dict[str, list[tuple[str, int, Disturbance]]] = {
        "rolling update": [
            ("one at a time, warm", usual, _rolling(1, cold=False)),
            ("one at a time, cold", usual, _rolling(1, cold=True)),
            ("a quarter at a time, warm", usual, _rolling(math.ceil(usual / 4), cold=False)),
            ("one fewer at a time, warm", usual, _rolling(1, cold=False, surge=False)),
        ],
        "zone loss": [
            ("silent, pods for the rate", usual, _zone_loss(_SILENT_SECONDS)),
            ("silent, half as many more", spare, _zone_loss(_SILENT_SECONDS)),
            ("refused, half as many more", spare, _zone_loss(0.0)),
        ],
        "switch": [
            ("all pods load at once", usual, _loading(at_once=True)),
            ("one after the other", usual, _loading(at_once=False)),
            ("all at once, half as many more", spare, _loading(at_once=True)),
        ],
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, variants in kinds.items():
        found[kind] = []
        for name, pods, disturbance in variants:
            fleet = Fleet(service, CLIENT_POLICY, clients=clients_of(RATE), resolves=True)
            fleet.add(*(Replica(fleet.env, STREAMS, zone=at % 3) for at in range(pods)))
            fleet.env.process(disturbance(fleet))
            seconds = _LONG
            outcome = fleet.run(RATE, seconds)
            found[kind].append(
                {
                    "name": name,
                    "pods": pods,
                    **_tail(outcome.between(_EVENT_AT, seconds)),
                    "late": _round(outcome.between(_EVENT_AT, seconds).late_share(PROMISE_MS), 5),
                    "series": _series(outcome, 5.0, seconds),
                }
            )
            log(f"{kind}, {name}: {found[kind][-1]['p99_ms']} ms")
    return found


def _rolling(count: int, *, cold: bool, surge: bool = True) -> Disturbance:
    """Replace pods, so many at a time: new ones first, or old ones first."""

    def run(fleet: Fleet) -> Generator[Event, Any, None]:
        yield fleet.env.timeout(_EVENT_AT)
        old = list(fleet.replicas)
        while old:
            leaving, old = old[:count], old[count:]
            if not surge:
                for each in leaving:
                    fleet.remove(each)
            yield fleet.env.timeout(_START_SECONDS * 0.5)
            questions = _COLD_QUESTIONS if cold else 0
            fleet.add(
                *(
                    Replica(fleet.env, STREAMS, cold=questions, cold_speed=_COLD_SPEED)
                    for _ in leaving
                ),
                at_once=False,
            )
            if surge:
                for each in leaving:
                    fleet.remove(each)

    return run


def _zone_loss(silent_seconds: float) -> Disturbance:
    def run(fleet: Fleet) -> Generator[Event, Any, None]:
        yield fleet.env.timeout(_EVENT_AT)
        lost = [each for each in fleet.replicas if each.zone == 0]
        fleet.replicas = [each for each in fleet.replicas if each.zone]
        for each in lost:
            each.fail(silent_seconds)
        yield fleet.env.timeout(_START_SECONDS)
        fleet.add(*(Replica(fleet.env, STREAMS, zone=1) for _ in lost), at_once=False)

    return run


def _loading(*, at_once: bool) -> Disturbance:
    """Have pods load another version beside the one that answers, which takes half the cores."""

    def run(fleet: Fleet) -> Generator[Event, Any, None]:
        yield fleet.env.timeout(_EVENT_AT)
        groups = [fleet.replicas] if at_once else [[each] for each in fleet.replicas]
        for group in groups:
            for each in group:
                each.speed = _LOADING_SPEED
            yield fleet.env.timeout(_LOADING_SECONDS)
            for each in group:
                each.speed = 1.0

    return run


def scaling(service: Service, log: Log) -> list[dict[str, Any]]:
    """Return what an autoscaler's settings make of a step and of a day, with pods of one stream.

    Args:
        service: What a question costs.
        log: Called with a line for each.
    """
    settings = [Scaling(target=target) for target in (0.5, 0.6, 0.7, 0.8)]
    settings += [Scaling(down_seconds=seconds) for seconds in (60.0,)]
    settings += [Scaling(start_seconds=seconds) for seconds in (90.0,)]
    rows = []
    for each in settings:
        row: dict[str, Any] = {
            "target": each.target,
            "down_seconds": each.down_seconds,
            "start_seconds": each.start_seconds,
        }
        for name, rates, seconds in (
            ("step", [(0.0, 100.0), (120.0, 200.0)], 480.0),
            ("day", _day(200.0), 3_600.0),
        ):
            fleet = Fleet(service, CLIENT_POLICY, clients=4, resolves=True)
            first = max(each.least, math.ceil(rates[0][1] * service.mean / each.target))
            fleet.add(*(Replica(fleet.env) for _ in range(first)))
            scaler = Autoscaler(fleet, each, partial(Replica, fleet.env))
            outcome = fleet.run(rates, seconds)
            judged = outcome.between(60.0, seconds)
            row[name] = {
                **_tail(judged),
                "late": _round(judged.late_share(PROMISE_MS), 5),
                "pod_hours": _round(scaler.pod_seconds(seconds) / 3600, 2),
                "series": _series(outcome, 15.0, seconds),
                "counts": [[round(at), count] for at, count in scaler.counts],
            }
        rows.append(row)
        log(f"{each}: {row['step']['late']}, {row['day']['late']}")
    return rows


def _day(most: float) -> list[tuple[float, float]]:
    """A day within an hour: between a tenth of a rate and all of it, anew each 30 s."""
    return [
        (at, most * (0.55 - 0.45 * math.cos(2 * math.pi * at / 3_600)))
        for at in (30.0 * step for step in range(120))
    ]


def _usual_pods(service: Service) -> int:
    """The pods of a fleet at three quarters of what it answers at most."""
    return math.ceil(RATE * service.mean / STREAMS / 0.75)


def _tail(outcome: Outcome) -> dict[str, float]:
    return {
        f"p{percent:g}_ms".replace(".", "_"): _round(outcome.quantile_ms(percent), 1)
        for percent in (50, 99, 99.9)
    }


def _series(outcome: Outcome, step: float, end: float) -> list[list[float]]:
    return [[at, _round(value, 1)] for at, value in outcome.p99_over_time(step, end)]


def _round(value: float, digits: int = _DIGITS) -> float:
    return round(value, digits)
