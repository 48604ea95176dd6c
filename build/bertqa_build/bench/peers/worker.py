"""One peer, in a process of its own.

Reads requests as lines of JSON from standard input and answers each with a line on standard
output. The first one is the `Job`, with the questions; each further one has a way to ask them, and
how many.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bertqa_build.bench.peers.contract import Job, Open, Opened

MODULES = {
    "pytorch": "pytorch",
    "torch-compile": "pytorch",
    "optimum-intel": "optimum_intel",
    "onnx-runtime": "onnx_runtime",
    "deepsparse": "deepsparse",
    "in-process": "ours",
    "local": "ours",
    "ovms": "ours",
}
"""By the kind of peer, which module of this package opens it."""


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print what they like
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a server has to be stopped
    first = json.loads(sys.stdin.readline())
    job = Job(**{**first["job"], "cores": tuple(first["job"]["cores"])})
    pairs = [(question, context) for question, context in first["pairs"]]
    os.sched_setaffinity(0, job.cores)
    open_peer: Open = importlib.import_module(f"{__package__}.{MODULES[job.kind]}").opened
    with open_peer(job) as peer:
        print(json.dumps(_facts(peer)), file=answers)
        for line in sys.stdin:
            request = json.loads(line)
            asked = pairs[: request["questions"]]
            begun = time.perf_counter()
            texts = peer.ways[request["way"]](asked)
            seconds = time.perf_counter() - begun
            print(json.dumps({"seconds": seconds, "texts": texts}), file=answers)


def _facts(peer: Opened) -> dict[str, Any]:
    return {
        "ways": list(peer.ways),
        "packages": {name: _version(name) for name in peer.packages},
        "note": peer.note,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


if __name__ == "__main__":
    main()
