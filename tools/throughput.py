"""Compare a server with OpenVINO itself, on the same model, in the same run.

    python -m tools.throughput REPOSITORY --engine ovms --callers 1 8 64 1000

In process, over gRPC and over REST take turns, so that other work of the machine affects all alike;
the result is the ratio. On a busy machine the ratio of the processor time for each window is more
reliable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import openvino as ov

from bertqa import _defaults
from bertqa.artifact import plugin_config, synthetic_inputs, usable_cores
from bertqa.evaluation import take_turns
from bertqa.runtime.openvino import core
from bertqa.transport import Security, open_async_transport
from bertqa_serve.launcher import running
from bertqa_serve.options import ServeOptions
from tests.support.ports import free_port

IN_PROCESS = "in process"
# More requests than OpenVINO has streams wait in its queue; their number makes no difference.
QUEUE_LIMIT = 64
PATIENCE = 600.0

Measure = Callable[[float], int]


def in_process(model: Path, length: int, callers: int) -> Measure:
    """Return a function that runs a model in this process for so many seconds, counting windows.

    Args:
        model: The IR's file.
        length: Tokens in each window.
        callers: Requests at once.
    """
    compiled = core().compile_model(core().read_model(model), "CPU", plugin_config(usable_cores()))
    requests = ov.AsyncInferQueue(compiled, min(callers, QUEUE_LIMIT))
    names = [port.get_any_name() for port in compiled.inputs]
    arrays = synthetic_inputs(1, length, names=names)

    def measure(seconds: float) -> int:
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            requests.start_async(arrays)
            done += 1
        requests.wait_all()
        return done

    return measure


def served(url: str, names: list[str], length: int, callers: int) -> Measure:
    """Return a function that calls a server for so many seconds, counting windows.

    Args:
        url: The server's address, gRPC or REST.
        names: The model's inputs.
        length: Tokens in each window.
        callers: Callers of one window each; a client's number of requests is on its way at once.
    """
    inputs = synthetic_inputs(1, length, names=names)

    async def call(seconds: float) -> int:
        transport = open_async_transport(
            url,
            {"model": "bert-qa", "metadata_url": None, "learns": False, "security": Security()},
        )
        # As many requests on their way as a client has: the others wait for their turn.
        slots = asyncio.Semaphore(_defaults.REQUESTS_IN_FLIGHT)
        started, done = time.perf_counter(), 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - started < seconds:
                async with slots:
                    await transport.infer(inputs, version=None, timeout=PATIENCE)
                done += 1

        try:
            await asyncio.gather(*(caller() for _ in range(callers)))
        finally:
            await transport.close()
        return done

    return lambda seconds: asyncio.run(call(seconds))


@dataclass(frozen=True, slots=True)
class Speed:
    """Windows per second, and processor seconds per window."""

    rate: float
    cost: float


def speed(measure: Measure, seconds: float, server: int) -> Speed:
    """Return what one measurement finds.

    Args:
        measure: Runs for so many seconds, and returns the number of windows.
        seconds: How long to run.
        server: The id of the server's process, whose processor time counts as well.
    """
    started, spent = time.perf_counter(), _processor_seconds(server) + time.process_time()
    windows = measure(seconds)
    spent = _processor_seconds(server) + time.process_time() - spent
    return Speed(windows / (time.perf_counter() - started), spent / windows)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(
    options: argparse.Namespace, model: Path, addresses: dict[str, str], server: int, callers: int
) -> dict[str, object]:
    """Measure with so many callers.

    Args:
        options: The command line.
        model: The IR's file.
        addresses: The server's addresses by the names of their protocols.
        server: The id of the server's process.
        callers: Requests at once.

    Returns:
        The figures of each way to run the model, by its name.
    """
    names = [port.get_any_name() for port in core().read_model(model).inputs]
    measures = {IN_PROCESS: in_process(model, options.length, callers)} | {
        protocol: served(url, names, options.length, callers) for protocol, url in addresses.items()
    }
    for measure in measures.values():
        measure(1.0)
    speeds = take_turns(
        {
            name: partial(speed, measure, options.seconds, server)
            for name, measure in measures.items()
        },
        options.rounds,
    )
    result: dict[str, object] = {"callers": callers}
    for name, found in speeds.items():
        pairs = list(zip(speeds[IN_PROCESS], found, strict=True))
        result[name] = {
            "windows_per_second": round(median(each.rate for each in found), 1),
            "ratio": round(median(one.rate / base.rate for base, one in pairs), 3),
            "ratio_by_processor_time": round(
                median(base.cost / one.cost for base, one in pairs), 3
            ),
        }
    return result


def main() -> int:
    """Measure, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--engine", default="local", help="local, ovms or container")
    parser.add_argument("--version", type=int, default=2)
    parser.add_argument("--length", type=int, default=384)
    parser.add_argument("--callers", type=int, nargs="+", default=[8])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "bert-qa" / str(options.version)
        shutil.copytree(options.repository / "bert-qa" / str(options.version), model)
        settings = ServeOptions(
            Path(directory), engine=options.engine, port=free_port(), rest_port=free_port()
        )
        with running(settings, log=lambda _: None) as server:
            addresses = {"gRPC": server.grpc_url, "REST": server.rest_url}
            for callers in options.callers:
                found = compare(
                    options, model / "model.xml", addresses, server.process.pid, callers
                )
                print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
