"""Importing the engine changes nothing in its process, and its first inferences are safe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.models import write_toy_version

UNCHANGED = """
import bertqa_serve.engine
from bertqa.runtime import openvino
from prometheus_client import CollectorRegistry, Counter, generate_latest

assert openvino._make_core.cache_info().currsize == 0, "importing compiled a model"
registry = CollectorRegistry()
Counter("questions", "", registry=registry)
assert "questions_created" in generate_latest(registry).decode(), "importing switched a global"
metrics = bertqa_serve.engine.server.Metrics(enabled=True)
metrics.loaded("m", 1, 1, 1)
assert "_created" not in metrics.text()
"""

ALL_AT_ONCE = """
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from bertqa.artifact import INPUTS
from bertqa_serve.engine.config import ModelConfig
from bertqa_serve.engine.model import LoadedModel

arrays = {name: np.ones((1, 8), dtype=np.int64) for name in INPUTS}
together = threading.Barrier(8)
answered = []

def load() -> None:
    together.wait()
    loaded = LoadedModel(Path(sys.argv[1]), ModelConfig("m", None))
    answered.append(loaded.submit(arrays, nullcontext()).result())
    loaded.close()

threads = [threading.Thread(target=load) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(answered) == 8
"""


def run(script: str, *arguments: str) -> None:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr


def test_importing_compiles_nothing_and_switches_no_global() -> None:
    run(UNCHANGED)


def test_threads_that_are_all_first_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    run(ALL_AT_ONCE, str(write_toy_version(tmp_path, 1)))
