"""A switch whose process ends, or meets an error of the system, at each change of a file in turn.

The changes are counted by an audit hook, in a child: all that Python opens for writing, makes,
renames, removes or syncs. The server is one that serves at once what the files say, so that
what clients and the server find can be checked before each change.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertqa._reason import reason_of
from bertqa.artifact import WORK_FOLDER, Repository, Split, parse_split
from bertqa.errors import BertQAError
from bertqa_deploy.config_file import ConfigTarget, SplitModel
from bertqa_deploy.config_file._memory import MemoryFile
from bertqa_deploy.rollout import Memory, Moved, Plan, Rollout
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from tests.deploy.config_file.instant import BROKEN, MODEL, TRIAL, InstantServer

KILLED, VIOLATED = 137, 99
CHANGES = frozenset(("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.fsync"))
# What a full disk refuses; of files, those that are new.
GROWTH = frozenset(("os.mkdir", "os.rename", "os.fsync"))
DENIED = frozenset(("os.mkdir", "os.rename", "os.remove", "os.rmdir"))


@dataclass(frozen=True)
class Scenario:
    """A command, and what was done before it.

    Attributes:
        goal: Where the command moves to; None for `--back`.
        before: The moves before it.
        steps: Its steps.
        retire: Whether it retires what is outside the split.
        fails: Whether the command cannot succeed.
    """

    goal: Split | None
    before: tuple[Split, ...] = ()
    steps: tuple[int, ...] = (100,)
    retire: bool = False
    fails: bool = False


SCENARIOS = {
    "the first move": Scenario({2: 100.0}),
    "a move in steps": Scenario({2: 90.0, 3: 10.0}, ({1: 100.0},), steps=(5, 100)),
    "a return": Scenario(None, ({1: 50.0, 2: 50.0}, {3: 100.0}), retire=True),
    "a retirement": Scenario({2: 100.0}, ({2: 100.0},), retire=True),
    "a broken version": Scenario({4: 100.0}, ({2: 100.0},), fails=True),
    "a broken version at first": Scenario({4: 100.0}, fails=True),
}


def write_repository(root: Path) -> None:
    """Write versions 1 to 4, of which 4 is broken, and a configuration that serves the first."""
    for version in range(1, 5):
        directory = root / MODEL / str(version)
        directory.mkdir(parents=True)
        (directory / "model.xml").write_text(BROKEN if version == 4 else "<net/>")
    entry = {
        "name": MODEL,
        "base_path": MODEL,
        "model_version_policy": {"specific": {"versions": [1]}},
    }
    text = json.dumps({"model_config_list": [{"config": entry}]}, indent=1)
    (root / "config.json").write_text(text)


def command(
    root: Path, goal: Split | None, scenario: Scenario, *, retire: bool, url: str | None = None
) -> Moved:
    """Move to a goal, or go back, as the command line does."""
    repository = Repository(root)
    server: Any = InstantServer(repository) if url is None else Server(url, patience=60)
    smoke = Smoke("When?", "1932", "1932")
    with ConfigTarget(repository, server, smoke=smoke, drain_seconds=0, retire=retire) as target:
        rollout = Rollout(target, Plan(steps=scenario.steps))
        return rollout.back() if goal is None else rollout.move(goal)


@dataclass
class Series:
    """One scenario with one kind of fault, at each change in turn."""

    scenario: Scenario
    fault: str
    then: str
    folder: Path
    wrong: list[str] = field(default_factory=list)
    completed: object = None

    def run(self) -> tuple[int, list[str]]:
        """Return how many changes the command makes, and what is wrong."""
        base = self.folder / "base"
        base.mkdir()
        write_repository(base)
        for goal in self.scenario.before:
            command(base, goal, Scenario(goal), retire=False)
        good = _memory(base).good
        if not self.scenario.fails:
            root = self.folder / "reference"
            shutil.copytree(base, root)
            command(root, self.scenario.goal, self.scenario, retire=self.scenario.retire)
            self.completed = _found(root)
        at = 0
        while not self.wrong:
            at += 1
            root = self.folder / "repository"
            shutil.copytree(base, root)
            outcome = in_child(root, self.scenario, self.fault, at)
            if outcome is None:
                shutil.rmtree(root)
                break
            self.wrong += [
                f"at change {at} ({outcome}): {each}" for each in self._after(root, good, outcome)
            ]
            shutil.rmtree(root)
        shutil.rmtree(base)
        return at - 1, self.wrong

    def _after(self, root: Path, good: Split, outcome: str) -> Iterator[str]:
        """Yield what is wrong after a fault, and after what follows it."""
        yield from violations(root)
        if outcome.startswith("not ours"):
            yield "the error is not one of ours"
        scenario = self.scenario
        memory = _memory(root)
        if self.fault != "kill":
            yield from leftovers(root, may_be_under_way=memory.goal is not None)
            rolled_back = outcome.startswith("RolledBackError")
            if rolled_back and (memory.goal is not None or memory.good != good):
                yield f"rolled back to {memory}"
        begun, completed = memory.goal is not None, _found(root) == self.completed
        goal = None if self.then == "back" else scenario.goal
        try:
            moved = command(root, goal, scenario, retire=scenario.retire)
        except BertQAError as error:
            ended = type(error).__name__
        else:
            ended = f"at {dict(moved.split)}"
        if self.then == "back":
            expected = self._return_to(memory, good, begun=begun, completed=completed)
        elif scenario.fails:
            expected = "RolledBackError"
        elif scenario.goal is None:
            expected = "NothingToDoError" if completed else f"at {command_goal(scenario)}"
        elif completed:
            expected = "NothingToDoError"
        else:
            expected = f"at {dict(scenario.goal)}"
        if ended != expected:
            yield f"then it ended {ended}, not {expected} ({memory})"
        yield from violations(root)
        if ended != "NothingToDoError":  # Nobody has written, so the next writer clears up.
            yield from leftovers(root, may_be_under_way=False)
        yield from incomplete(root)

    def _return_to(self, memory: Memory, good: Split, *, begun: bool, completed: bool) -> str:
        """Return how `--back` has to end."""
        if self.scenario.fails and not begun and memory.previous is None:
            return "NothingToDoError"  # It was undone, or there was no rollout before.
        if self.scenario.goal is None:  # The return is finished.
            return "NothingToDoError" if completed else f"at {command_goal(self.scenario)}"
        if begun or (completed and self.scenario.goal != good):
            return f"at {dict(good)}"
        earlier = self.scenario.before[:-1]
        if self.scenario.before and not earlier:
            return "at {1: 100.0}" if self.scenario.before[0] != {1: 100.0} else "NothingToDoError"
        return f"at {dict(earlier[-1])}" if earlier else "NothingToDoError"


def command_goal(scenario: Scenario) -> dict[int, float]:
    """Return where a return leads."""
    return dict(scenario.before[-2])


def violations(root: Path) -> Iterator[str]:
    """Yield what clients would fail at with these files."""
    server = InstantServer(Repository(root))
    served = server.available(MODEL)
    if not served:
        yield "nothing is served"
    readings = [server.split(MODEL) or {}]
    plain = root / f"{MODEL}.split"
    if plain.exists():
        readings.append(parse_split(plain.read_text()))
    for split in readings:
        if not split.keys() <= served:
            yield f"the split {dict(split)} has versions that are not served, {served} are"
    if 4 in served:
        yield "the broken version is served"


def leftovers(root: Path, *, may_be_under_way: bool) -> Iterator[str]:
    """Yield what is half-written, or left of a trial."""
    for path in root.rglob("*"):
        if path.name.endswith(".partial"):
            yield f"left over: {path.relative_to(root)}"
    work = root / WORK_FOLDER
    known = {"lock", "switch.lock", "numbers.json"}
    if work.exists() and (unknown := {path.name for path in work.iterdir()} - known):
        yield f"left over in the work folder: {unknown}"
    if not may_be_under_way and TRIAL in (root / "config.json").read_text():
        yield "left over: a trial"


def incomplete(root: Path) -> Iterator[str]:
    """Yield what does not agree once nothing is under way."""
    history = _history(root)
    memory = _memory(root)
    if memory.goal is not None:
        yield f"under way still: {memory}"
    if history and memory.good != history[-1]:
        yield f"remembers {memory}, and the split is {history[-1]}"
    plain = root / f"{MODEL}.split"
    says = plain.read_text() if plain.exists() else None
    if history and (says is None or parse_split(says) != history[-1]):
        yield f"{plain.name} says {says}"


def _found(root: Path) -> object:
    return _memory(root), _history(root)[-1:], InstantServer(Repository(root)).available(MODEL)


def _memory(root: Path) -> Memory:
    history = _history(root)
    return MemoryFile(Repository(root), MODEL).read(history, history[-1] if history else {1: 100.0})


def _history(root: Path) -> list[dict[int, float]]:
    return SplitModel(Repository(root), MODEL).history()


def in_child(
    root: Path, scenario: Scenario, fault: str, at: int, url: str | None = None
) -> str | None:
    """Run the command with a fault at a change, and return how it ended; None if it met none."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.write(writing, _attempt(root, scenario, Fault(fault, at, root), url).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == KILLED:
        return "killed"
    return said or None


def _attempt(root: Path, scenario: Scenario, fault: Fault, url: str | None) -> str:
    fault.install()
    try:
        command(root, scenario.goal, scenario, retire=scenario.retire, url=url)
    except BertQAError as error:
        ended = f"{type(error).__name__}: {error} ({error.detail})"
    except Exception as error:
        ended = f"not ours: {type(error).__name__}: {error}"
    else:
        ended = "done"
    fault.active = False
    if fault.found:
        return f"not ours: {fault.found}"
    if fault.count < fault.at:
        return ""
    if ended == "done" or (scenario.fails and "does not load" in ended):
        return ended
    if reason_of(OSError(fault.number, os.strerror(fault.number))) in ended:
        return ended
    return f"not ours, or without its reason: {ended}"


class Fault:
    """Ends this process, or fails, at a change; checks what clients find before each one."""

    def __init__(self, kind: str, at: int, root: Path) -> None:
        self.at = at
        self.count = 0
        self.active = True
        self.found: list[str] = []
        self.number = errno.ENOSPC if kind == "full" else errno.EACCES
        self._kind = kind
        self._root = os.fspath(root)
        self._checking = False

    def install(self) -> None:
        sys.addaudithook(self._heed)
        sync = os.fsync

        def fsync(fd: Any) -> None:
            self._heed("os.fsync", (fd,))
            sync(fd)

        os.fsync = fsync

    def _heed(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active or self._checking or not self._is_change(event, arguments):
            return
        if self.count >= self.at:  # Until the fault it goes as in the series before.
            self._checking = True
            self.found += violations(Path(self._root))
            self._checking = False
        self.count += 1
        if self._kind.startswith("kill") and self.count == self.at:
            os._exit(KILLED)
        if self._kind == "denied" and self.count == self.at:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if self._kind == "full" and self.count >= self.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _is_change(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if self._kind == "kill in sight":
            return event in DENIED and any(map(self._is_in_sight, arguments))
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return False
            if not isinstance(path, str | bytes | os.PathLike):
                return False
            if not os.fsdecode(path).startswith(self._root):
                return False
            return self._kind != "full" or not Path(os.fsdecode(path)).exists()
        if self._kind == "kill":
            return event in CHANGES
        if self._kind == "full":
            return event in GROWTH
        return event in DENIED

    def _is_in_sight(self, path: object) -> bool:
        """Return whether the server or a client could see that a path changes."""
        if not isinstance(path, str | os.PathLike):
            return False
        name = os.fspath(path)
        return name.startswith(self._root) and WORK_FOLDER not in Path(name).parts


def run_series(scenario: str, fault: str, then: str) -> tuple[int, list[str]]:
    """Run a series in a folder of its own, in memory where there is such a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        return Series(SCENARIOS[scenario], fault, then, Path(folder)).run()
