"""A process that answers requests, a line of JSON each, until its standard input ends."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bertqa_build.errors import BuildError

_STOP_SECONDS = 40.0


class Worker:
    """A process that measures one thing.

    Args:
        process: The process.
        name: What it measures, for messages.
        log: What it writes to standard error.
    """

    def __init__(self, process: subprocess.Popen[str], name: str, log: IO[str]) -> None:
        self._process = process
        self._name = name
        self._log = log

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request.

        Args:
            request: The request, as JSON has it.

        Raises:
            BuildError: The process has ended; `detail` is the last line that it wrote.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fail(self) -> None:
        self._log.seek(0)
        words = self._log.read().strip().splitlines()
        raise BuildError(
            f"{self._name} ended with exit status {self._process.wait()}.",
            detail=words[-1] if words else None,
        )


@contextmanager
def worker(module: str, name: str, environment: Mapping[str, str]) -> Iterator[Worker]:
    """Start a process, which ends with the block.

    Args:
        module: The module that it runs.
        name: What it measures, for messages.
        environment: Its environment.

    Yields:
        The process.
    """
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one.
        )
        stack.callback(_end, process)
        yield Worker(process, name, log)


def available_memory() -> int:
    """Return how many bytes of memory programs can still take."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _end(process: subprocess.Popen[str]) -> None:
    """Let a process stop what it started itself, and kill it if it takes too long."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
