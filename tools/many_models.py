"""Many models on one server: memory, time until all are ready, and questions a second.

    python -m tools.many_models --version model_repository/bert-qa/2 --models 1,10,50,100

Every model is a copy of one version under a name of its own, made with hard links. A server starts
with the first number of models and gets more by its configuration. All requests have one shape, so
that what is compared is the models. Processor time is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bertqa.artifact import CONFIG_FILE, INPUTS, write_whole
from bertqa.transport import AdminClient, Security, Transport, open_transport, rest_address
from bertqa_serve.launcher import Running, running
from bertqa_serve.options import ServeOptions
from bertqa_serve.ports import free_ports

_KIB = 1024
_TOKENS = 128
_AT_ONCE = 8
_PATIENCE_SECONDS = 7200.0
# What is private to the process, what is of files, and how much of it a fair share is.
_MEMORY = {"anonymous": r"^Anonymous:\s+(\d+)", "pss": r"^Pss:\s+(\d+)", "rss": r"^Rss:\s+(\d+)"}


def names_of(models: int) -> list[str]:
    """Return the names of so many models.

    Args:
        models: How many.
    """
    return [f"customer-{number:03}" for number in range(1, models + 1)]


def serve_copies(
    version: Path, root: Path, names: Sequence[str], settings: Mapping[str, str]
) -> None:
    """Have a repository serve copies of one version, made where they are missing.

    Args:
        version: The version's directory.
        root: The directory of the repository, on the same file system.
        names: The names of the models.
        settings: The `plugin_config` of each.
    """
    entries = []
    for name in names:
        if not (root / name).exists():
            shutil.copytree(version, root / name / "1", copy_function=os.link)
        entry = {"name": name, "base_path": name, "plugin_config": dict(settings)}
        entries.append({"config": entry})
    write_whole(root / CONFIG_FILE, json.dumps({"model_config_list": entries}), staging=root)


def memory_of(pid: int) -> dict[str, float]:
    """Return the memory of a process in MiB, and how many threads it has.

    Args:
        pid: The process.
    """
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {
        name: int(match[1]) / _KIB
        for name, pattern in _MEMORY.items()
        if (match := re.search(pattern, text, re.MULTILINE))
    }
    return {**found, "threads": len(list(Path(f"/proc/{pid}/task").iterdir()))}


def seconds_of(pid: int) -> float:
    """Return the processor time of a process so far, in seconds.

    Args:
        pid: The process.
    """
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def transports_to(server: Running, names: Sequence[str]) -> Iterator[dict[str, Transport]]:
    """Open a transport to each model; they share one connection.

    Args:
        server: The server.
        names: The names of the models.

    Yields:
        The transports by the names of the models.
    """
    opened: dict[str, Transport] = {}
    try:
        for name in names:
            opened[name] = open_transport(
                server.grpc_url,
                {
                    "model": name,
                    "metadata_url": server.rest_url,
                    "learns": False,
                    "security": Security(),
                },
            )
        yield opened
    finally:
        for each in opened.values():
            each.close()


class Load:
    """Windows of one shape for models in turn, and what they take.

    Args:
        pid: The server's process.
        transports: What runs each model.
    """

    def __init__(self, pid: int, transports: Mapping[str, Transport]) -> None:
        self._pid = pid
        self._transports = transports
        ids = np.random.default_rng(0).integers(1000, 20000, (1, _TOKENS))
        ones = np.ones_like(ids)
        self._inputs = dict(zip(INPUTS, (ids, ones, np.zeros_like(ids)), strict=True))

    def _ask(self, name: str) -> None:
        self._transports[name].infer(self._inputs, version=None, timeout=600.0)

    def run(self, asked: Sequence[str], at_once: int) -> dict[str, float]:
        """Return windows per second, and milliseconds of the server's processors a window.

        Args:
            asked: The models in the order in which they are asked.
            at_once: How many are asked at once.
        """
        used, begin = seconds_of(self._pid), time.perf_counter()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self._ask, asked))
        took = time.perf_counter() - begin
        used = seconds_of(self._pid) - used
        return {"per_s": len(asked) / took, "cpu_ms": 1000 * used / len(asked)}


def measure(
    version: Path, steps: Sequence[int], settings: Mapping[str, str], rounds: int, windows: int
) -> Iterator[dict[str, Any]]:
    """Serve more and more copies, and yield the figures of each step.

    Args:
        version: The version's directory.
        steps: How many models there are after each step; the server runs on.
        settings: The `plugin_config` of each.
        rounds: How often each load has its turn.
        windows: How many windows a load has.

    Yields:
        The figures by name.
    """
    names = names_of(max(steps))
    chance = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="many-models-") as made:
        root = Path(made)
        serve_copies(version, root, names[: steps[0]], settings)
        port, rest_port = free_ports()
        options = ServeOptions(
            repository=root,
            engine="ovms",
            model=names[0],
            port=port,
            rest_port=rest_port,
            warm_up=False,
            log_level="ERROR",
            ready_seconds=_PATIENCE_SECONDS,
            poll_seconds=0,
        )
        begin, used = time.perf_counter(), 0.0
        with (
            running(options, log=lambda _: None) as server,
            transports_to(server, names) as transports,
        ):
            pid = server.process.pid
            load = Load(pid, transports)
            before = 0
            for step in steps:
                if before:
                    begin, used = time.perf_counter(), seconds_of(pid)
                    serve_copies(version, root, names[:step], settings)
                    reload_now(server, names[:step])
                ready, ready_cpu = time.perf_counter() - begin, seconds_of(pid) - used
                loaded = memory_of(pid)
                first = load.run(names[before:step], 1)
                found: dict[str, list[dict[str, float]]] = {"one": [], "many": []}
                for _ in range(rounds):
                    chosen = [chance.choice(names[:step]) for _ in range(windows)]
                    found["one"].append(load.run([names[0]] * windows, _AT_ONCE))
                    found["many"].append(load.run(chosen, _AT_ONCE))
                yield {
                    "models": step,
                    "settings": dict(settings),
                    "added": step - before,
                    "ready_s": ready,
                    "ready_cpu_s": ready_cpu,
                    "first_cpu_ms": first["cpu_ms"],
                    "loaded": loaded,
                    "asked": memory_of(pid),
                    **{
                        f"{name}_{unit}": statistics.median(each[unit] for each in runs)
                        for name, runs in found.items()
                        for unit in ("per_s", "cpu_ms")
                    },
                }
                before = step


def reload_now(server: Running, names: Sequence[str]) -> None:
    """Have the server read its configuration, and wait until each model answers.

    Args:
        server: The server.
        names: The names of the models.
    """
    address = rest_address(server.rest_url)
    with AdminClient(address, timeout=_PATIENCE_SECONDS, direct=True) as admin:
        admin.reload()
        missing = [name for name in names if not admin.is_model_ready(name)]
    if missing:
        raise SystemExit(f"{missing[0]} is not ready.")


def settings_of(text: str) -> dict[str, str]:
    """Return the properties of one setting, such as `NUM_STREAMS=1,INFERENCE_NUM_THREADS=2`.

    Args:
        text: The properties; empty for OpenVINO's own.
    """
    return dict(each.split("=", 1) for each in text.split(",") if each)


def main() -> None:
    """Measure what the command line asks for, a line of JSON each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--version", type=Path, required=True, help="the directory of a version")
    parser.add_argument("--models", default="1,10,50,100", help="how many copies, with commas")
    parser.add_argument("--settings", nargs="+", type=settings_of, default=[{"NUM_STREAMS": "1"}])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=400)
    given = parser.parse_args()
    steps = sorted(map(int, given.models.split(",")))
    for settings in given.settings:
        for found in measure(given.version, steps, settings, given.rounds, given.windows):
            print(json.dumps(_rounded(found)), flush=True)


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    return round(found, 2) if isinstance(found, float) else found


if __name__ == "__main__":
    main()
