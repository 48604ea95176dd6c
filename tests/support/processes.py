"""Processes that tests start end with the test run, also where it is killed.

A run sets a variable that marks it, and every process that it starts inherits the variable. A
watchdog waits until the run has ended, in whatever way, and kills what still has the mark.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid

import psutil

MARK = "BERTQA_TEST_RUN"
_LOOK_SECONDS = 1.0

_watchdogs: list[subprocess.Popen[bytes]] = []


def end_with_this_process() -> None:
    """Let every process that is started from now on end with this one at the latest."""
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    mark = uuid.uuid4().hex
    os.environ[MARK] = f"{os.environ.get(MARK, '')} {mark}"  # A run in a run ends with either.
    watchdog = subprocess.Popen(
        [sys.executable, "-P", __file__, str(os.getpid()), mark],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=unmarked,
        start_new_session=True,  # Ctrl-C and the end of a terminal are for the run alone.
    )
    _watchdogs.append(watchdog)


def _watch(run: int, mark: str) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(run)
        if os.getppid() == run:  # Otherwise the run has ended, and another has its number.
            process.wait()
    while left := [each for each in psutil.process_iter() if _is_marked(each, mark)]:
        for each in left:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(left, timeout=_LOOK_SECONDS)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return mark in process.environ().get(MARK, "").split()
    except (psutil.Error, OSError):
        return False


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
