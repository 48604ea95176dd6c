"""The servers that recorded transcripts are played against."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.flags import parse, server_from
from tests.support.ports import free_port

Step = Mapping[str, Any]


class Server(Protocol):
    """A server that a transcript starts, asks and ends; `time_scale` shortens what takes long."""

    host: str
    time_scale: float

    @property
    def grpc_port(self) -> int: ...
    @property
    def rest_port(self) -> int: ...
    def send(self, number: signal.Signals) -> None: ...
    def exit_code(self, seconds: float | None) -> int | None: ...
    def close(self) -> None: ...


class InThisProcess:
    """The local engine in a thread: quick to start, and with a quicker clock."""

    host = "127.0.0.1"
    time_scale = 0.25

    def __init__(self, arguments: list[str]) -> None:
        if "--file_system_poll_wait_seconds" not in arguments:
            arguments = [*arguments, "--file_system_poll_wait_seconds", "0.1"]
        self._server: LocalServer = server_from(parse(arguments))
        self._starting = threading.Thread(target=self._server.start)
        self._starting.start()
        while self._starting.is_alive() and not self._server.rest_port:
            time.sleep(0.005)

    @property
    def grpc_port(self) -> int:
        return self._server.grpc_port

    @property
    def rest_port(self) -> int:
        return self._server.rest_port or 0

    def exit_code(self, seconds: float | None) -> int | None:
        self.close()
        return 0

    def send(self, number: signal.Signals) -> None:
        self.close()

    def close(self) -> None:
        self._starting.join()
        self._server.stop()


class AsProcess:
    """A server as a process of its own."""

    host = "127.0.0.1"

    def __init__(
        self, program: list[str], arguments: list[str], *, time_scale: float = 1.0
    ) -> None:
        self.time_scale = time_scale
        self.grpc_port, self.rest_port = free_port(), free_port()
        ports = {"{GRPC_PORT}": str(self.grpc_port), "{REST_PORT}": str(self.rest_port)}
        self._process = subprocess.Popen(
            [*program, *(ports.get(argument, argument) for argument in arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def exit_code(self, seconds: float | None) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@dataclass(slots=True)
class RunningElsewhere:
    """A server that another process started and ends."""

    host: str
    grpc_port: int
    rest_port: int
    time_scale: float = 1.0

    def exit_code(self, seconds: float | None) -> int | None:
        return 0

    def send(self, number: signal.Signals) -> None:
        pass

    def close(self) -> None:
        pass


_QUICKER = 0.5
_ENDS_QUICKER = f"""
import sys
from bertqa_serve.engine import __main__, server
server.GRPC_GRACE_SECONDS *= {_QUICKER}
sys.exit(__main__.main(sys.argv[1:]))
"""

Start = Callable[[Step, list[str]], Server]


def local_engine(scenario: str) -> Start:
    """Run the engine in this process, except where it is the process that is looked at."""
    as_process = real_server([sys.executable, "-m", "bertqa_serve.engine"])
    if scenario == "shutdown":
        program = [sys.executable, "-c", _ENDS_QUICKER]
        return lambda _, arguments: AsProcess(program, arguments, time_scale=_QUICKER)

    def start(step: Step, arguments: list[str]) -> Server:
        if step["wait"] == "exit":
            return as_process(step, arguments)
        if scenario == "tfs":
            arguments = [*arguments, "--tensorflow_serving_api"]
        free = ["0" if a in ("{GRPC_PORT}", "{REST_PORT}") else a for a in arguments]
        return InThisProcess(free)

    return start


def real_server(program: list[str]) -> Start:
    return lambda _, arguments: AsProcess(program, arguments)
