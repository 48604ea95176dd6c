from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import nncf
import pytest
import rich
from nncf.common.logging.track_progress import track
from transformers.utils import logging as transformers_logging

from bertqa_build.quiet import quiet


def test_libraries_are_silent_in_the_block_and_as_before_after_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    nncf_log, transformers_log = logging.getLogger("nncf"), transformers_logging.get_logger("x")
    levels = [logging.getLogger(name).level for name in ("nncf", "transformers", "torchao")]
    bars = transformers_logging.is_progress_bar_enabled()
    with quiet():
        nncf_log.error("a note")
        transformers_log.warning("a note")
        logging.getLogger("torchao.kernels").warning("a note")
        warnings.warn("a note", stacklevel=1)
        assert list(track([1, 2], description="a bar")) == [1, 2]
        assert not transformers_logging.is_progress_bar_enabled()
        print("ours")
    assert capfd.readouterr() == ("ours\n", "")
    assert levels == [logging.getLogger(name).level for name in ("nncf", "transformers", "torchao")]
    assert transformers_logging.is_progress_bar_enabled() is bars
    assert not rich.get_console().quiet


def test_blocks_may_be_nested_and_left_by_an_error() -> None:
    nncf.set_log_level(logging.INFO)
    with pytest.raises(KeyError), quiet(), quiet():
        raise KeyError
    assert logging.getLogger("nncf").level == logging.INFO


IMPORT = """
import logging, os, sys
import nncf, transformers.utils.logging
OF_LIBRARIES = ("KMP_", "TORCHINDUCTOR_")  # torch and the OpenMP runtimes set these themselves.
def switches():
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(OF_LIBRARIES)}
    return ours, [logger.level for logger in loggers], sys.stdout, sys.stderr
from bertqa_build.quiet import quiet
before = switches()
with quiet():
    import bertqa_build.pipeline, bertqa_build.report, bertqa_build.bench.run
after = switches()
assert "torchao" in sys.modules
assert before == after, (before, after)
assert "matplotlib" not in sys.modules
"""


def test_importing_the_room_changes_nothing_and_prints_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


CONVERT = """
import sys
forks = []
sys.addaudithook(lambda event, _: forks.append(event) if event == "os.fork" else None)
from bertqa_build.quiet import quiet
import openvino as ov, openvino_telemetry, torch
with quiet():
    ov.convert_model(torch.nn.Linear(2, 2), example_input=torch.zeros(1, 2))
sender = openvino_telemetry.Telemetry().sender
sender.executor.shutdown()
assert (sender.queue_size, forks) == (0, []), (sender.queue_size, forks)
"""


def test_no_usage_statistics_are_sent() -> None:
    done = subprocess.run([sys.executable, "-c", CONVERT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
