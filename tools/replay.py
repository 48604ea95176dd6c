"""Replay what was recorded of OVMS against a server, and report where the server differs.

    python -m tools.replay [SCENARIO ...]                     the local engine
    python -m tools.replay --ovms PATH [SCENARIO ...]         a real server, started as needed
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
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.answers import (
    DEADLINE_SECONDS,
    Answer,
    accepts,
    ask_grpc,
    ask_rest,
    expected_of,
    rest,
)
from tests.support.servers import RunningElsewhere, Server, Start, Step, local_engine, real_server

DATA = Path(__file__).parents[1] / "tests" / "serve" / "ovms"
TRANSCRIPTS = DATA / "transcripts"
DEVIATIONS = DATA / "deviations.toml"
ONLY_ASKING = ("infer_errors", "infer_ok", "metadata")
_PATIENCE_SECONDS = 10.0


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
    compared: int = 0
    _server: Any = None
    _patience_ends: float = 0.0
    _background: list[tuple[str, Step, threading.Thread, list[Answer]]] = field(
        default_factory=list
    )

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

    @property
    def _models(self) -> Path:
        return self.work / "models"

    @property
    def _config(self) -> Path:
        return self.work / "config.json"

    def _compare(self, name: str, step: Step, actual: Answer) -> None:
        self.compared += 1
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
        for background_name, background, thread, answers in self._background:
            thread.join()
            self._compare(background_name, background, answers[0])
        self._background.clear()

    def _do_signal(self, name: str, step: Step) -> None:
        self._server.send(signal.Signals[f"SIG{step['signal']}"])

    def _do_sleep(self, name: str, step: Step) -> None:
        """Sleep, and allow the server more time than that to do what the sleep was for."""
        time.sleep(step["seconds_to_sleep"] * self._server.time_scale)
        self._patience_ends = time.monotonic() + _PATIENCE_SECONDS

    def _do_wait_until(self, name: str, step: Step) -> None:
        def reached() -> bool:
            answer, until = ask_rest(self._server, step["rest"]), step["until"]
            if "status" in until:
                return bool(answer.get("status") == until["status"])
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
        self._ask(name, step, ask_grpc)

    def _ask(self, name: str, step: Step, ask: Callable[[Server, Step], Answer]) -> None:
        if not step.get("background"):
            answer = ask(self._server, step)
            while not accepts(step, answer) and time.monotonic() < self._patience_ends:
                time.sleep(0.05)
                answer = ask(self._server, step)
            self._compare(name, step, answer)
            return
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(ask(self._server, step)))
        thread.start()
        self._background.append((name, step, thread, answers))

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


def _poll(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where the local engine differs from OVMS on purpose.

    `not_always` marks a step whose outcome depends on the speed of the machine.
    """

    scenario: str
    step: str
    reason: str
    not_always: bool


def deviations() -> list[Deviation]:
    """Return the known differences from the recordings."""
    content = tomllib.loads(DEVIATIONS.read_text(encoding="utf-8"))
    return [
        Deviation(scenario, step, entry["reason"], entry.get("not_always", False))
        for entry in content["deviation"]
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


def replay(scenario: str, steps: list[Step], start: Start | None = None) -> Replay:
    """Replay a part of a transcript.

    Args:
        scenario: The transcript's name.
        steps: The part.
        start: Starts the server, by default the local engine.

    Returns:
        What was compared, and the differences.
    """
    with tempfile.TemporaryDirectory() as work:
        played = Replay(scenario, steps, start or local_engine(scenario), Path(work))
        played.run()
    return played


def _elsewhere(url: str) -> Start:
    (host, grpc_port), (_, rest_port) = (part.split(":") for part in url.split(","))
    return lambda *_: RunningElsewhere(host, int(grpc_port), int(rest_port))


def main() -> int:
    """Replay, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--ovms", type=Path, help="the program of a real server")
    parser.add_argument("--url", help="HOST:GRPC_PORT,HOST:REST_PORT of a running server")
    options = parser.parse_args()
    names = options.scenarios or (ONLY_ASKING if options.url else scenarios())
    compared = different = 0
    for name in names:
        start = _elsewhere(options.url) if options.url else None
        start = real_server([str(options.ovms)]) if options.ovms else start
        began = time.monotonic()
        played = [replay(name, steps, start) for steps in parts(name)]
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
