"""Moving traffic between versions of a server that has a `config.json`, without a failed request.

Clients that follow the split go by it; OVMS answers with the highest version that it serves where a
client names none, so the highest version of a split is their default. A new version is served under
a name that no client uses until it is in the split.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bertqa import QAClient, _defaults
from bertqa._progress import Progress
from bertqa.artifact import (
    MODEL_NAME,
    WAIT_SECONDS,
    WHOLE,
    Repository,
    RepositoryWriter,
    Split,
    VerifyKey,
    format_split,
    settle,
)
from bertqa.client import noticed_seconds
from bertqa.errors import BertQAError, RepositoryError
from bertqa_deploy.config_file._memory import MemoryFile
from bertqa_deploy.config_file._models import Models
from bertqa_deploy.errors import DeployError, SwitchedMeanwhileError
from bertqa_deploy.manifests import check_manifest
from bertqa_deploy.rollout import Counts, Memory, OnStep, Restarts, State, counts_of
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke

if TYPE_CHECKING:
    from filelock import FileLock

# By then every client that follows the split has read it anew and asks by it.
DRAIN_SECONDS = 1.5 * _defaults.FOLLOW_SECONDS


class ConfigTarget:
    """One server with its repository, as a target of rollouts.

    The first effect takes the right to switch, which is dropped at the end of the `with` block: a
    second switch is refused for as long, and others that write to the repository are not. A block
    that ends with an exception leaves no trial behind.

    Args:
        repository: The repository that the server reads.
        server: The server.
        model: The model whose traffic is moved.
        smoke: What a version has to answer before it gets traffic.
        drain_seconds: How long a version is kept after the split has left it.
        retire: Whether versions outside the split are no longer served.
        force: Whether a version is taken that failed the quality gate.
        key: The key that versions have to be signed with, if any.
        on_step: Is called with a sentence for each step.
    """

    def __init__(
        self,
        repository: Repository,
        server: Server,
        model: str = MODEL_NAME,
        smoke: Smoke | None = None,
        drain_seconds: float = DRAIN_SECONDS,
        *,
        retire: bool = False,
        force: bool = False,
        key: VerifyKey | None = None,
        on_step: OnStep = lambda _: None,
    ) -> None:
        self._repository = repository
        self._server = server
        self._model = model
        self._drain_seconds = drain_seconds
        self._retire = retire
        self._force = force
        self._key = key
        self._on_step = on_step
        self._file = MemoryFile(repository, model)
        self._models = Models(repository, server, model, smoke or Smoke(), self._writing, on_step)
        self._restarts = Restarts(model)
        self._lock: FileLock | None = None
        self._memory = Memory({})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End a trial that an exception left, and drop the right to switch."""
        if self._lock is None:
            return
        try:
            if error is not None:
                with contextlib.suppress(BertQAError):
                    self._models.end_trial()
        finally:
            self._lock.release()
            self._lock = None

    @property
    def name(self) -> str:
        """What the target is called in results."""
        return f"server {self._server.address}"

    def current(self) -> State:
        """Return the state now.

        Nothing is locked or written, but what a killed process had begun to publish is completed.

        Raises:
            RepositoryError: The repository or its `config.json` cannot be read.
            SwitchUnfinishedError: The server is busy with an earlier change for too long.
            ServerUnreachableError: The server cannot be reached from the start.
            DeployError: What is remembered cannot be read, or the server serves no version.
        """
        settle(self._repository)
        self._seen = self._on_disk()
        history, _ = self._seen
        self._models.read()
        served = self._models.served
        split = history[-1] if history else {max(served): WHOLE}
        self._before_history = {max(served): WHOLE}
        self._memory = self._file.read(history, split)
        # The split that this process knows all its followers to go by.
        self._followed: Split | None = None
        settled = (
            bool(history) and self._models.splits.file_says(split) and self._models.is_settled()
        )
        return State(split, served, self._memory, settled)

    def check(self, goal: Split) -> None:
        """Refuse versions that are missing, damaged or failed the gate.

        A split to go back to has passed, or was forced, before.

        Args:
            goal: Percents by version.

        Raises:
            QualityGateError: A version failed the gate.
            SignatureError: The key's owner did not sign a version.
            RepositoryError: A version is missing or damaged.
        """
        stored = self._file.stored()
        force = self._force or (stored is not None and goal == stored.previous)
        for version in sorted(goal):
            try:
                self._repository.require_version(version, self._model)
            except RepositoryError as error:
                if stored is None or version not in (stored.goal or {}):
                    raise
                raise RepositoryError(
                    f"{error} A rollout to it is under way: --back returns to "
                    f"{format_split(stored.good)}."
                ) from error
            check_manifest(self._repository, version, self._model, force=force, key=self._key)

    def kept(self, state: State, goal: Split) -> frozenset[int]:
        """Return the versions of a goal, and those below its highest unless they are retired.

        Args:
            state: The target as it was before.
            goal: Percents by version.
        """
        below = () if self._retire else (v for v in state.served if v < max(goal))
        kept = frozenset((*goal, *below))
        return kept - (self._gone(kept) - goal.keys())

    def prove(self, versions: frozenset[int]) -> None:
        """Ask versions that are served without traffic the smoke question.

        Args:
            versions: Their numbers.

        Raises:
            DeployError: One does not answer, or wrongly.
        """
        self._models.ask(versions)

    def client(self, version: int) -> AbstractContextManager[QAClient]:
        """Return an open client whose questions reach a version, with or without traffic.

        Args:
            version: The number, to be named with each question.
        """
        return self._server.client(self._models.model_of(version))

    def apply(self, wanted: State) -> None:
        """Bring the server to a state, and return once it holds.

        Args:
            wanted: The state.

        Raises:
            RepositoryBusyError: Another process switches or writes.
            RepositoryError: The repository cannot be written, or lacks a version.
            ConfigChangedError: Another program changed `config.json`; it is left as it is.
            SwitchedMeanwhileError: Another process moved the traffic.
            DeployError: A new version does not load or answer.
            SwitchUnfinishedError: The server took too long.
        """
        models, under_way = self._models, wanted.memory.goal is not None
        gone = self._gone(models.served) - wanted.split.keys()
        newcomers = wanted.served - models.served
        arriving = newcomers & wanted.split.keys()
        trial = newcomers - arriving
        for version in sorted(newcomers):  # One that is gone by now would be waited for in vain.
            self._repository.require_version(version, self._model)
        if under_way:
            self._remember(wanted.memory)
        if newcomers:
            models.put_on_trial(newcomers)
        history = models.splits.history()
        is_first = not history and (under_way or self._memory.goal is not None)
        if is_first and not arriving and wanted.split == self._before_history:
            models.put_on_trial(trial)  # Clients are shown nothing yet, or never will be.
        else:
            self._begin_history()
            models.serve((models.served | arriving) - gone, trial=trial, check=arriving)
            self._move_followers(wanted)
            models.serve(wanted.served - trial - gone, trial=trial)
        if not under_way:
            self._remember(wanted.memory)

    def observe(self, version: int) -> Mapping[str, Counts]:
        """Return what the server counted of a version since it started.

        Args:
            version: Its number.

        Raises:
            MetricMissingError: It does not count what is needed.
            DeployError: The version is not in the repository any more.
            BertQAError: It cannot be read.
        """
        self._require_directory(version)
        samples = self._server.metrics()
        counts = counts_of(samples, self._model, str(version))
        restarts = self._restarts.until(samples)
        return {str(self._server.address): replace(counts, restarts=restarts)}

    def _require_directory(self, version: int) -> None:
        """Refuse a candidate that was deleted, which the server serves no longer, or not for long.

        Where the good version was, nothing better is there to return to.
        """
        if version in self._memory.good or version not in self._gone(frozenset({version})):
            return
        raise DeployError(
            f"Version {version} of {self._model} is not in {self._repository.root} any more, so "
            "that the server cannot serve it. Publish it again, or another version."
        )

    def _gone(self, versions: frozenset[int]) -> frozenset[int]:
        """Return those of some versions that were deleted from the repository."""
        return versions - frozenset(self._repository.versions(self._model))

    def _remember(self, memory: Memory) -> None:
        if self._file.stored() != memory:
            with self._writing() as writer:
                self._file.write(memory, writer)
        self._memory = memory

    def _begin_history(self) -> None:
        """Have the history begin with what was before the first switch."""
        if not self._models.splits.history():
            with self._writing() as writer:
                self._models.splits.publish(self._before_history, writer)

    def _move_followers(self, wanted: State) -> None:
        """Publish a split, and wait until the server reports it and its followers go by it."""
        split = dict(wanted.split)
        is_new = split != self._models.splits.history()[-1]
        if is_new:
            with self._writing() as writer:
                self._models.splits.publish(split, writer)
            self._on_step(f"the split is {format_split(split)}")
        if not self._models.splits.file_says(split):
            with self._writing() as writer:
                self._models.splits.write_file(split, writer)
        is_old = wanted.memory.goal is not None and split == wanted.memory.good and not is_new
        if split == self._followed or (is_old and wanted.served >= self._models.served):
            return
        self._models.wait_for_split(split, format_split(split))
        noticing = noticed_seconds() if self._server.was_away else 0.0
        time.sleep(self._drain_seconds + noticing)
        self._followed = split

    def _on_disk(self) -> tuple[list[dict[int, float]], Memory | None]:
        return self._models.splits.history(), self._file.stored()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[RepositoryWriter]:
        """Write to the repository; the first to do so takes the right to switch."""

        def on_progress(progress: Progress) -> None:
            self._on_step(f"waiting for {progress.note} that writes to {self._repository.root}")

        # Nothing is done before the first effect; after it, others that write are waited for.
        seconds = 0.0 if self._lock is None else WAIT_SECONDS
        with RepositoryWriter(
            self._repository, wait_seconds=seconds, on_progress=on_progress
        ) as writer:
            if self._lock is None:
                self._lock = self._reserved(writer)
            yield writer

    def _reserved(self, writer: RepositoryWriter) -> FileLock:
        lock = writer.reserve_switching()
        try:
            if self._on_disk() != self._seen:
                raise SwitchedMeanwhileError(
                    f"Another switch moved the traffic of {self._model} meanwhile: nothing was "
                    "changed. Look at `bert-qa versions`, and run the same command again."
                )
        except BaseException:
            lock.release()
            raise
        return lock
