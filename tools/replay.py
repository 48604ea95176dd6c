"""Replay what was recorded of OVMS against a server, and report where the server differs.

    python -m tools.replay [SCENARIO ...]                     the local engine
    python -m tools.replay --ovms PATH [SCENARIO ...]         a real server, started as needed
    python -m tools.replay --ovms PATH --record SCENARIO ...  write what it does into transcripts
    python -m tools.replay --url HOST:GRPC_PORT,HOST:REST_PORT [SCENARIO ...]
        a server that runs with configs/all_broken.json; only scenarios that change nothing

`tests/serve/ovms/README.md` describes the format of the transcripts. Two things are not compared:
how a REST connection without an answer fails, and which version a server reports of itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from tests.support.answers import (
    DEADLINE_SECONDS,
    RECORDED,
    Answer,
    accepts,
    ask_grpc,
    ask_rest,
    expected_of,
    grpc_connection,
    quicker,
    rest,
)
from tests.support.servers import RunningElsewhere, Server, Start, Step, local_engine, real_server

DATA = Path(__file__).parents[1] / "tests" / "serve" / "ovms"
TRANSCRIPTS = DATA / "transcripts"
DEVIATIONS = DATA / "deviations.toml"
ONLY_ASKING = ("infer_errors", "infer_ok", "metadata")
_PATIENCE_SECONDS = 10.0
_AT_ONCE = 64

Timed = tuple[Answer, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """A step at which a server did not do what OVMS did."""

    scenario: str
    step: str
    expected: object
    actual: object

    def __str__(self) -> str:
        return f"{self.scenario}: {self.step}\n  OVMS:   {self.expected}\n  server: {self.actual}"


@dataclass
class Replay:
    """A transcript, or a part of it, being played."""

    scenario: str
    steps: list[Step]
    start: Start
    work: Path
    differences: list[Difference] = field(default_factory=list)
    recording: bool = False
    compared: int = 0
    _server: Any = None
    _patience_ends: float = 0.0
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_AT_ONCE))
    _background: dict[str, tuple[Step, Future[Timed]]] = field(default_factory=dict)
    _connections: dict[str, grpc.Channel] = field(default_factory=dict)

    def run(self) -> None:
        """Replay one scenario, step by step."""
        self._reset_models()
        try:
            for index, step in enumerate(self.steps):
                if step["do"] not in ("rest", "grpc"):
                    self._patience_ends = 0.0
                name = step.get("name") or step.get("what") or f"{index}: {step['do']}"
                getattr(self, f"_do_{step['do']}")(name, step)
        finally:
            if self._server is not None:
                self._server.close()
            self._pool.shutdown()
            for connection in self._connections.values():
                connection.close()

    @property
    def _models(self) -> Path:
        return self.work / "models"

    @property
    def _config(self) -> Path:
        return self.work / "config.json"

    def _compare(self, name: str, step: Step, actual: Answer) -> None:
        self.compared += 1
        if self.recording:
            _record(step, actual)
        if not accepts(step, actual):
            self.differences.append(Difference(self.scenario, name, expected_of(step), actual))

    def _do_start(self, name: str, step: Step) -> None:
        self._write_config(step["config"])
        places = {"{CONFIG}": str(self._config), "{MODEL_DIR}": str(self._models)}
        arguments = list(step["args"])
        for place, path in places.items():
            arguments = [argument.replace(place, path) for argument in arguments]
        self._server = self.start(step, arguments)
        if step["wait"] == "exit":
            code, self._server = self._server.exit_code(DEADLINE_SECONDS), None
            self._compare(name, step, {"exit_code": code})
            return
        wanted = (200,) if step["wait"] == "ready" else range(100, 600)
        _poll(lambda: rest(self._server, "GET", "/v2/health/ready").get("status") in wanted)

    def _do_stop(self, name: str, step: Step) -> None:
        if "signal" in step:
            self._server.send(signal.Signals[f"SIG{step['signal']}"])
        code, self._server = self._server.exit_code(DEADLINE_SECONDS), None
        self._compare(name, step, {"exit_code": code})
        self._do_collect(name, step)

    def _do_collect(self, name: str, step: Step) -> None:
        """Wait for the answers to all requests in the background."""
        for background_name, (background, answer) in self._background.items():
            self._compare(background_name, background, answer.result()[0])
        self._background.clear()

    def _do_probes(self, name: str, step: Step) -> None:
        """Ask over many connections at once while a request is under way, and note when.

        What a server answers when the request has ended arrives in any order: so an answer counts
        as one at once in the first half of the time until then, and as one at the end after it.
        """
        began = time.monotonic()
        probes = list(
            self._pool.map(lambda _: _timed(ask_rest, self._server, step), range(step["times"]))
        )
        middle = (began + self._background[step["while"]][1].result()[1]) / 2
        answered = sorted({"at once" if at < middle else "at the end" for _, at in probes})
        wrong = [answer for answer, _ in probes if answer.get("status") != step["status"]]
        self._compare(name, step, wrong[0] if wrong else {**probes[0][0], "answered": answered})

    def _do_signal(self, name: str, step: Step) -> None:
        self._server.send(signal.Signals[f"SIG{step['signal']}"])

    def _do_sleep(self, name: str, step: Step) -> None:
        """Sleep, and allow the server more time than that to do what the sleep was for."""
        time.sleep(step["seconds_to_sleep"] * self._server.time_scale)
        self._patience_ends = time.monotonic() + _PATIENCE_SECONDS

    def _do_wait_until(self, name: str, step: Step) -> None:
        def reached() -> bool:
            if "grpc" in step:
                return accepts(step["until"], ask_grpc(self._server, step["grpc"]))
            request, until = quicker(step["rest"], self._server.time_scale), step["until"]
            answer = ask_rest(self._server, request)
            if "status" in until:
                return bool(answer.get("status") == until["status"])
            if "metric" in until:
                return bool(_metric(answer, until["metric"], until["model"]) == until["value"])
            models = answer.get("response") or {}
            versions = models.get(until["model"], {}).get("model_version_status", ())
            return any(
                version["version"] == until["version"] and version["state"] == until["state"]
                for version in versions
            )

        self._compare(name, step, {"reached": _poll(reached, step["timeout"])})

    def _do_write_config(self, name: str, step: Step) -> None:
        self._write_config(step["config"])

    def _do_remove_config(self, name: str, step: Step) -> None:
        self._config.unlink()

    def _do_reset_models(self, name: str, step: Step) -> None:
        self._reset_models()

    def _do_add_version(self, name: str, step: Step) -> None:
        target = self._models / step["model"] / str(step["version"])
        if step.get("replace"):
            shutil.copytree(DATA / step["from"], target, dirs_exist_ok=True)
            return
        staged = self.work / "staged"
        if step["from"] is None:
            staged.mkdir()
        else:
            shutil.copytree(DATA / step["from"], staged)
        staged.rename(target)

    def _do_remove_version(self, name: str, step: Step) -> None:
        gone = Path(tempfile.mkdtemp(dir=self.work)) / "gone"
        (self._models / step["model"] / str(step["version"])).rename(gone)

    def _do_rest(self, name: str, step: Step) -> None:
        self._ask(name, step, ask_rest)

    def _do_grpc(self, name: str, step: Step) -> None:
        connection = step.get("connection")
        if connection is None:
            self._ask(name, step, ask_grpc)
            return
        if connection not in self._connections:
            self._connections[connection] = grpc_connection(self._server)
        self._ask(name, step, partial(ask_grpc, channel=self._connections[connection]))

    def _ask(self, name: str, step: Step, ask: Callable[[Server, Step], Answer]) -> None:
        if step.get("background") or self._background:
            step = quicker(step, self._server.time_scale)
        if step.get("background"):
            asked = self._pool.submit(_timed, ask, self._server, step)
            self._background[name] = (step, asked)
            return
        answer = ask(self._server, step)
        while not accepts(step, answer) and time.monotonic() < self._patience_ends:
            time.sleep(0.05)
            answer = ask(self._server, step)
        self._compare(name, step, answer)

    def _reset_models(self) -> None:
        shutil.rmtree(self._models, ignore_errors=True)
        shutil.copytree(DATA / "models", self._models)

    def _write_config(self, config: str | None) -> None:
        if config is None:
            self._config.unlink(missing_ok=True)
            return
        text = (DATA / config).read_text(encoding="utf-8")
        staged = self._config.with_suffix(".staged")
        staged.write_text(text.replace("{MODEL_DIR}", str(self._models)), encoding="utf-8")
        staged.rename(self._config)


def _timed(ask: Callable[[Server, Step], Answer], server: Server, step: Step) -> Timed:
    return ask(server, step), time.monotonic()


def _metric(answer: Answer, name: str, model: str) -> float | None:
    """Return what a gauge of a model shows; None if the answer has none."""
    families = answer.get("response") or ()
    samples = [
        s for f in families if isinstance(f, dict) and f["name"] == name for s in f["samples"]
    ]
    return next((s["value"] for s in samples if s["labels"]["name"] == model), None)


def _record(step: Step, actual: Answer) -> None:
    """Write what a server did into a step, without what says nothing of it."""
    assert isinstance(step, dict)
    for key in (*RECORDED, "transport_error"):
        step.pop(key, None)
    step.update(actual)
    for name in [*step.get("response_headers", ())]:
        if name in ("content-length", "connection") or name.startswith("access-control-"):
            del step["response_headers"][name]


def _poll(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where a server differs from what was recorded, and why.

    `not_always` marks a step whose outcome depends on the speed of the machine, or on the build.
    """

    scenario: str
    step: str
    reason: str
    not_always: bool


def deviations(engine: str = "local") -> list[Deviation]:
    """Return the known differences of an engine, "local" or "ovms", from the recordings."""
    content = tomllib.loads(DEVIATIONS.read_text(encoding="utf-8"))
    return [
        Deviation(scenario, step, entry["reason"], entry.get("not_always", False))
        for entry in content["deviation"]
        if entry.get("engine", "local") in (engine, "any")
        for scenario, steps in entry["steps"].items()
        for step in steps
    ]


def scenarios() -> list[str]:
    """Return the names of the recorded scenarios."""
    return sorted(path.stem for path in TRANSCRIPTS.glob("*.json"))


def parts(scenario: str) -> list[list[Step]]:
    """Return the steps of a transcript, cut where they no longer depend on earlier ones."""
    steps = json.loads((TRANSCRIPTS / f"{scenario}.json").read_text(encoding="utf-8"))
    changes_models = any(step["do"].endswith("_version") for step in steps)
    beginning = "reset_models" if changes_models else "start"
    found: list[list[Step]] = [[]]
    for step in steps:
        if step["do"] == beginning and found[-1]:
            found.append([])
        found[-1].append(step)
    return found


def replay(
    scenario: str, steps: list[Step], start: Start | None = None, *, recording: bool = False
) -> Replay:
    """Replay a part of a transcript.

    Args:
        scenario: The transcript's name.
        steps: The part.
        start: Starts the server, by default the local engine.
        recording: Whether to write what the server does into the steps.

    Returns:
        What was compared, and the differences.
    """
    with tempfile.TemporaryDirectory() as work:
        server = start or local_engine(scenario)
        played = Replay(scenario, steps, server, Path(work), recording=recording)
        played.run()
    return played


def _write(scenario: str, steps: list[Step]) -> None:
    lines = ",\n".join(json.dumps(step, ensure_ascii=False) for step in steps)
    (TRANSCRIPTS / f"{scenario}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def _elsewhere(url: str) -> Start:
    (host, grpc_port), (_, rest_port) = (part.split(":") for part in url.split(","))
    return lambda *_: RunningElsewhere(host, int(grpc_port), int(rest_port))


def main() -> int:
    """Replay, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--ovms", type=Path, help="the program of a real server")
    parser.add_argument("--url", help="HOST:GRPC_PORT,HOST:REST_PORT of a running server")
    parser.add_argument("--record", action="store_true", help="write into the transcripts")
    options = parser.parse_args()
    if options.record and not (options.ovms and options.scenarios):
        parser.error("--record needs --ovms and the scenarios to record.")
    names = options.scenarios or (ONLY_ASKING if options.url else scenarios())
    compared = different = 0
    for name in names:
        start = _elsewhere(options.url) if options.url else None
        start = real_server([str(options.ovms)]) if options.ovms else start
        began = time.monotonic()
        steps_of_parts = parts(name)
        played = [replay(name, steps, start, recording=options.record) for steps in steps_of_parts]
        if options.record:
            _write(name, [step for steps in steps_of_parts for step in steps])
        differences = [difference for part in played for difference in part.differences]
        steps_compared = sum(part.compared for part in played)
        print(*differences, sep="\n")
        print(
            f"{name}: {steps_compared - len(differences)} of {steps_compared} steps agree "
            f"({time.monotonic() - began:.0f} s)"
        )
        compared += steps_compared
        different += len(differences)
    print(f"{compared - different} of {compared} steps agree")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
