"""Replicas on this machine: started, one of them slowed, asked, and simulated alike.

Each listens at a loopback address of its own, at one port, and a name stands for all of them, as
that of a Service without an address of its own does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simpy import Environment

from bertqa.artifact import usable_cores
from bertqa.load import LoadTest, Shape, Stage, System, Target
from bertqa.transport._endpoints import Endpoint, EndpointPool
from bertqa_serve.command import EngineKind
from bertqa_serve.laboratory import server_beside
from bertqa_serve.launcher import Running
from bertqa_serve.ports import ports_of_the_system
from tools.fleet.model import Replica, SharedCores, Work
from tools.fleet.simulation import Fleet, Outcome, Service

NAME = "replicas.test"
_TIMEOUT_SECONDS = 60.0
# As long as a question or two: a slowed replica computes a part of each.
_PERIOD_SECONDS = 0.03
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Replicas(Target):
    """Replicas at several addresses of one name, known to each process that asks.

    Attributes:
        hosts: The addresses.
        policy: "turn or fewer", which is the client's, or "round robin", which it was.
    """

    hosts: tuple[str, ...] = ()
    policy: str = "turn or fewer"

    def opened(self, in_flight: int) -> AbstractAsyncContextManager[Any]:
        """Return what asks; see `Target`."""
        _resolve_to(self.hosts)
        if self.policy == "round robin":
            setattr(EndpointPool, "_choose", _in_turn)  # noqa: B010
        return Target.opened(self, in_flight)


def _in_turn(pool: EndpointPool[Any], candidates: Sequence[Endpoint[Any]]) -> Endpoint[Any]:
    """Return the endpoint whose turn it is, whatever calls are on their way."""
    pool._turn += 1
    return candidates[pool._turn % len(candidates)]


def _resolve_to(hosts: tuple[str, ...]) -> None:
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != NAME:
            return resolve(host, port, *arguments, **options)
        return [found for each in hosts for found in resolve(each, port, *arguments, **options)]

    socket.getaddrinfo = getaddrinfo
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = NAME


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        repository: The repository, which is read only.
        version: The version that is served.
        engine: What serves.
        test: What is asked, and how long.
    """

    repository: Path
    version: int
    engine: EngineKind
    test: LoadTest


@contextmanager
def started(plan: Plan, count: int, policy: str) -> Iterator[tuple[System, list[Running]]]:
    """Run replicas with one thread each, and what asks them.

    Args:
        plan: What is measured.
        count: How many replicas.
        policy: How the client balances; see `Replicas`.

    Yields:
        What is asked, and the servers.

    Raises:
        ServeError: A server cannot be started.
    """
    hosts = tuple(f"127.0.0.{number}" for number in range(1, count + 1))
    port, rest_port = ports_of_the_system(2)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                server_beside(
                    plan.repository,
                    plan.engine,
                    [plan.version],
                    ports=(port, rest_port),
                    host=host,
                    threads=1,
                    streams=1,
                )
            )
            for host in hosts
        ]
        arguments = {
            "url": f"dns:///{NAME}:{port}" if count > 1 else f"{hosts[0]}:{port}",
            "metadata_url": f"http://{hosts[0]}:{rest_port}",
            "timeout": _TIMEOUT_SECONDS,
        }
        target = Replicas(arguments, name=f"{count} replicas, {policy}", hosts=hosts, policy=policy)
        yield stack.enter_context(System.opened(target, plan.test)), servers


@contextmanager
def slowed(process: subprocess.Popen[str], speed: float) -> Iterator[None]:
    """Have a server compute a part of the time alone, by stopping and continuing it.

    Args:
        process: The server, which leads a group of processes.
        speed: Which part.
    """
    ended = threading.Event()

    def stop_and_go() -> None:
        while not ended.wait(_PERIOD_SECONDS * speed):
            os.killpg(process.pid, signal.SIGSTOP)
            ended.wait(_PERIOD_SECONDS * (1 - speed))
            os.killpg(process.pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a question costs where nothing waits.

    Attributes:
        service: The processor time of a replica, by its percentiles.
        client_seconds: The processor time of the client.
    """

    service: Service
    client_seconds: float


def cost_of(alone: Stage) -> Cost:
    """Return what a question costs, from one replica that is asked one at a time.

    The processor times are means; how they differ from question to question is how latencies do.

    Args:
        alone: What came of that.

    Raises:
        ValueError: The processor time of the server is not known.
    """
    if alone.server_cores is None:
        raise ValueError("The processor time of the server cannot be read on this machine.")
    rate = alone.questions_per_second
    latencies = [(alone.quantile_ms(percent) or 0.0) / 1000 for percent in range(101)]
    # The highest percentiles of a short measurement are other programs' doing.
    latencies[100] = latencies[99]
    mean = Service(tuple(latencies)).mean
    client, server = alone.client_share / rate, alone.server_cores / rate
    server = min(server, mean - client)
    rest = mean - client - server
    least = server / 10
    quantiles = tuple(max(least, each - client - rest) for each in latencies)
    return Cost(Service(quantiles, rest).scaled_to(server), client)


def simulated(
    cost: Cost, replicas: int, policy: str, shape: Shape, seconds: float, *, slow: float = 1.0
) -> Outcome:
    """Return what replicas and the client on the cores of this machine are predicted to do.

    Args:
        cost: What a question costs.
        replicas: How many there are.
        policy: How the client balances.
        shape: How questions come.
        seconds: For how long.
        slow: The speed of the first replica.
    """
    made: list[SharedCores] = []

    def front(env: Environment) -> tuple[Work, float]:
        made.append(SharedCores(env, usable_cores()))
        return made[0], cost.client_seconds

    fleet = Fleet(cost.service, policy, front=front)
    for number in range(replicas):
        fleet.add(Replica(fleet.env, cores=made[0], speed=1.0 if number else slow))
    if shape.rate is not None:
        return fleet.run(shape.rate, seconds)
    assert shape.at_once is not None
    return fleet.run_at_once(shape.at_once, seconds)
