"""tools/fleet against queueing theory, and what holds of any run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tools.fleet.balancing import POLICIES
from tools.fleet.model import OwnCores, Replica, SharedCores
from tools.fleet.simulation import Exponential, Fleet, Outcome, Service

pytestmark = pytest.mark.unit
SECONDS = 40_000.0


def waited(service: Service, rate: float, streams: int) -> float:
    """The mean seconds in the queue of one replica."""
    fleet = Fleet(service, "round robin", seed=1)
    fleet.add(Replica(fleet.env, streams))
    return fleet.run(rate, SECONDS).mean - service.mean


def erlang_c(servers: int, load: float) -> float:
    """The chance that a question waits in M/M/c."""
    waits = load**servers / math.factorial(servers) * servers / (servers - load)
    return waits / (sum(load**k / math.factorial(k) for k in range(servers)) + waits)


@pytest.mark.parametrize("rate", [0.5, 0.8])
def test_random_work_waits_as_in_m_m_1(rate: float) -> None:
    assert waited(Exponential(), rate, 1) == pytest.approx(rate / (1 - rate), rel=0.07)


@pytest.mark.parametrize("rate", [0.5, 0.8])
def test_equal_work_waits_as_in_m_d_1(rate: float) -> None:
    expected = rate / (2 * (1 - rate))
    assert waited(Service.constant(1.0), rate, 1) == pytest.approx(expected, rel=0.07)


def test_several_streams_wait_as_in_m_m_c() -> None:
    expected = erlang_c(4, 3.2) / (4 - 3.2)
    assert waited(Exponential(), 3.2, 4) == pytest.approx(expected, rel=0.07)


def test_shared_cores_are_processor_sharing() -> None:
    """M/G/1 with processor sharing: the mean depends on no more than the mean of the work."""
    fleet = Fleet(Service((0.2, 1.8)), "round robin", seed=2)
    fleet.add(Replica(fleet.env, 1_000_000, SharedCores(fleet.env, 1.0)))
    assert fleet.run(0.7, SECONDS).mean == pytest.approx(1 / (1 - 0.7), rel=0.07)


def test_shared_cores_that_suffice_take_nothing() -> None:
    def run(cores: Callable[[Fleet], SharedCores | OwnCores]) -> Outcome:
        fleet = Fleet(Service((0.5, 1.5)), "round robin", seed=3)
        shared = cores(fleet)
        fleet.add(Replica(fleet.env, cores=shared), Replica(fleet.env, cores=shared, speed=0.5))
        return fleet.run(0.6, 500)

    one, other = run(lambda it: SharedCores(it.env, 1.5)), run(lambda it: OwnCores(it.env))
    np.testing.assert_allclose(one.latencies, other.latencies)


@pytest.mark.parametrize("policy", POLICIES)
def test_each_question_is_answered_once_and_a_seed_decides_all(policy: str) -> None:
    def run(seed: int) -> Outcome:
        fleet = Fleet(Service((0.5, 1.5)), policy, clients=3, seed=seed)
        fleet.add(*(Replica(fleet.env) for _ in range(4)))
        return fleet.run(3.0, 300)

    first, again, other = run(1), run(1), run(2)
    assert len(first.latencies) == len(np.unique(first.arrived)) == first.asked > 800
    np.testing.assert_array_equal(first.latencies, again.latencies)
    assert first.asked != other.asked or (first.latencies != other.latencies).any()
    assert first.latencies.min() >= 0.5


def test_what_a_replica_had_that_fails_is_answered_by_others_once() -> None:
    fleet = Fleet(Service.constant(1.0), "round robin", clients=2, seed=4)
    replicas = [Replica(fleet.env) for _ in range(4)]
    fleet.add(*replicas)

    def lose() -> object:
        yield fleet.env.timeout(50)
        replicas[0].fail(5.0)

    fleet.env.process(lose())  # type: ignore[arg-type]
    outcome = fleet.run(2.0, 200)
    assert len(outcome.latencies) == outcome.asked
    # Until it is missed some wait for it, and then nobody asks it.
    assert outcome.between(45, 56).latencies.max() > 6
    assert outcome.between(80, 200).latencies.max() < outcome.between(45, 56).latencies.max()


def test_who_counts_requests_waits_less() -> None:
    """Mitzenmacher, 2001: each of two choices instead of one cuts the tail by far."""

    def p99(policy: str) -> float:
        fleet = Fleet(Exponential(), policy, seed=5)
        fleet.add(*(Replica(fleet.env) for _ in range(10)))
        return fleet.run(8.0, 3_000).quantile_ms(99)

    tails = {policy: p99(policy) for policy in POLICIES if policy != "pick first"}
    assert sorted(tails, key=lambda each: -tails[each])[:2] == ["random", "round robin"]
    assert tails["least requests"] == min(tails.values())
    assert tails["power of two choices"] < tails["random"] / 2
    assert tails["turn or fewer"] < tails["round robin"]


def test_so_many_at_once_keep_the_streams_busy() -> None:
    fleet = Fleet(Service.constant(0.1), "round robin")
    fleet.add(*(Replica(fleet.env) for _ in range(2)))
    assert fleet.run_at_once(8, 100.0).asked == pytest.approx(2_000, abs=10)


def test_a_client_that_computes_is_a_limit_too() -> None:
    fleet = Fleet(
        Service.constant(0.1), "round robin", front=lambda env: (SharedCores(env, 4), 0.2)
    )
    fleet.add(*(Replica(fleet.env) for _ in range(4)))
    assert fleet.run_at_once(8, 100.0).asked == pytest.approx(500, abs=10)
