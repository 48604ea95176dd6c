"""Compare the local engine over gRPC with OpenVINO itself, on the same model, in the same run.

    python -m tools.throughput REPOSITORY [--version 2] [--length 384] [--concurrency 8]

Both take turns, so that other work of the machine affects both alike; the result is the ratio. On
a busy machine the ratio of the processor time for each window is more reliable.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import grpc
import openvino as ov
from tritonclient.grpc import service_pb2

from bertqa.artifact import plugin_config, synthetic_inputs, usable_cores
from bertqa.evaluation import take_turns
from bertqa_serve.launcher import ServeOptions, running
from tests.support.ports import free_port

AT_LEAST = 0.9

Measure = Callable[[float], int]


def in_process(model: Path, length: int, concurrency: int) -> Measure:
    """Return a function that runs a model in this process for so many seconds, counting windows.

    Args:
        model: The IR's file.
        length: Tokens in each window.
        concurrency: Requests at once.
    """
    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", plugin_config(usable_cores()))
    requests = ov.AsyncInferQueue(compiled, concurrency)
    arrays = synthetic_inputs(1, length)

    def measure(seconds: float) -> int:
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            requests.start_async(arrays)
            done += 1
        requests.wait_all()
        return done

    return measure


def served(url: str, length: int, concurrency: int) -> Measure:
    """Return a function that asks a server for so many seconds, counting windows.

    Args:
        url: The server's gRPC address; one channel is opened to it.
        length: Tokens in each window.
        concurrency: Requests at once.
    """
    request = service_pb2.ModelInferRequest(model_name="bert-qa")
    for name, array in synthetic_inputs(1, length).items():
        request.inputs.add(name=name, datatype="INT64", shape=[1, length])
        request.raw_input_contents.append(array.tobytes())
    body = request.SerializeToString()
    infer = grpc.insecure_channel(url).unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def measure(seconds: float) -> int:
        started = time.perf_counter()
        done = [0] * concurrency

        def ask(index: int) -> None:
            while time.perf_counter() - started < seconds:
                infer(body, timeout=60)
                done[index] += 1

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done)

    return measure


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


def main() -> int:
    """Measure, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("repository", type=Path)
    parser.add_argument("--version", type=int, default=2)
    parser.add_argument("--length", type=int, default=384)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model = Path(directory) / "bert-qa" / str(options.version)
        shutil.copytree(options.repository / "bert-qa" / str(options.version), model)
        settings = ServeOptions(
            Path(directory), engine="local", port=free_port(), rest_port=free_port()
        )
        with running(settings, log=lambda _: None) as server:
            one = in_process(model / "model.xml", options.length, options.concurrency)
            other = served(server.grpc_url, options.length, options.concurrency)
            for measure in (one, other):
                measure(2.0)
            speeds = take_turns(
                {
                    measure: partial(speed, measure, options.seconds, server.process.pid)
                    for measure in (one, other)
                },
                options.rounds,
            )
    rounds = list(zip(speeds[one], speeds[other], strict=True))
    ratio = median(engine.rate / openvino.rate for openvino, engine in rounds)
    result = {
        "openvino_windows_per_second": median(each.rate for each in speeds[one]),
        "engine_windows_per_second": median(each.rate for each in speeds[other]),
        "ratio": ratio,
        "ratio_by_processor_time": median(
            openvino.cost / engine.cost for openvino, engine in rounds
        ),
    }
    print(json.dumps({key: round(value, 3) for key, value in result.items()}))
    return int(ratio < AT_LEAST)


if __name__ == "__main__":
    sys.exit(main())
