"""Moving traffic between versions of a server that has a `config.json`, without a failed request.

Each step looks at what is there and does what is missing, so that a switch that was killed is
finished by the same command. OVMS answers with the highest version that it serves where a client
names none, so the highest version of a split is the default; higher ones are withdrawn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from bertqa import _defaults
from bertqa.artifact import (
    MODEL_NAME,
    Entry,
    OvmsConfig,
    Repository,
    RepositoryWriter,
    Split,
    format_split,
    specific_versions,
)
from bertqa.client import noticed_seconds
from bertqa.errors import (
    BertQAError,
    ConfigChangedError,
    ModelNotFoundError,
    ModelNotReadyError,
    RepositoryError,
    VersionNotFoundError,
)
from bertqa.transport import NO_ANSWER, pauses
from bertqa_deploy.errors import (
    DeployError,
    NothingToDoError,
    SwitchRolledBackError,
    SwitchUnfinishedError,
)
from bertqa_deploy.manifests import check_manifest
from bertqa_deploy.server import Look, Server
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.split_model import SplitModel
from bertqa_deploy.waiting import LOADING, States, available, difference, last_requests, named

# By then every client that follows the split has read it anew and asks by it.
DRAIN_SECONDS = 1.5 * _defaults.FOLLOW_SECONDS
ALL = 100.0

_UNDO_SECONDS = 30.0
# What a server answers that has just started and loads its models still.
_NOT_THERE = (ModelNotFoundError, ModelNotReadyError, VersionNotFoundError)

OnStep = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch has come to.

    Clients with `traffic="auto"` follow `split`; those that name no version are answered by
    `default`; `served` can be asked by number.
    """

    model: str
    split: Mapping[int, float]
    default: int
    served: list[int]
    retired: list[int]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Switch:
    """One server with its repository.

    `smoke` is what a version has to answer before it gets traffic; `drain_seconds` is how long a
    version is kept after the split has left it; `on_step` is called with a sentence for each step;
    `returning` is what `back` sets, so that it can resume.
    """

    repository: Repository
    server: Server
    model: str = MODEL_NAME
    smoke: Smoke = field(default_factory=Smoke)
    drain_seconds: float = DRAIN_SECONDS
    on_step: OnStep = lambda _: None
    returning: bool = False

    @property
    def _trial(self) -> str:
        return f"{self.model}-trial"

    @property
    def _split_model(self) -> SplitModel:
        return SplitModel(self.repository, self.model)

    def move(self, split: Split, *, retire: bool = False, force: bool = False) -> Switched:
        """Send traffic where a split says; its highest version becomes the default.

        Args:
            split: Percents by version.
            retire: Whether versions outside the split are no longer served.
            force: Whether a version is taken that failed the quality gate.

        Returns:
            What is served now.

        Raises:
            NothingToDoError: Everything is already so.
            QualityGateError: A version failed the gate.
            RepositoryError: A version is missing or damaged, the repository cannot be written, or
                another process writes to it.
            ConfigChangedError: Another program changed `config.json` meanwhile.
            SwitchRolledBackError: A version did not prove itself; everything is as it was.
            SwitchUnfinishedError: The server took too long; run the same command again to resume.
            ServerUnreachableError: The server cannot be reached from the start.
        """
        with contextlib.suppress(_LockNeededError):
            return self._move(split, None, retire=retire, force=force)
        with RepositoryWriter(self.repository, wait_seconds=0) as writer:
            return self._move(split, writer, retire=retire, force=force)

    def back(self, *, retire: bool = False) -> Switched:
        """Return to the split before the last one, or finish a switch that was interrupted.

        Args:
            retire: Whether versions outside that split are no longer served.

        Returns:
            What is served now.

        Raises:
            NothingToDoError: There is no earlier split.
            BertQAError: What `move` raises.
        """
        history = self._split_model.history()
        if not history:
            raise NothingToDoError("There is nothing to go back to: no switch was made here yet.")
        target = self._split_model.return_under_way() or self._before(history)
        return replace(self, returning=True).move(target, retire=retire, force=True)

    def _before(self, history: list[dict[int, float]]) -> Split:
        """Return the split before the last one, or the last one where versions are yet to go."""
        current = history[-1]
        served = self.served(OvmsConfig.read(self.repository.config_path))
        if any(number > max(current) for number in served):
            return current
        earlier = [split for split in history if split != current]
        if not earlier:
            always = format_split(current)
            raise NothingToDoError(f"There is nothing to go back to: the split is still {always}.")
        return earlier[-1]

    def _move(
        self, split: Split, writer: RepositoryWriter | None, *, retire: bool, force: bool
    ) -> Switched:
        for version in sorted(split):
            self.repository.require_version(version, self.model)
            check_manifest(self.repository, version, self.model, force=force)
        wanted = {version: percent for version, percent in split.items() if percent > 0}
        return _Run(self, writer).to(wanted, retire=retire)

    def served(self, config: OvmsConfig) -> set[int]:
        """Return the versions that the server serves once it has done what `config.json` says.

        Args:
            config: The `config.json` of the repository.

        Raises:
            RepositoryError: The configuration has no such model.
            BertQAError: What `Server.settled` raises.
        """
        if "base_path" not in config.entry(self.model):
            raise RepositoryError(f"{config.path} has no base_path for {self.model}.")
        configured = config.policy(self.model).choose(self.repository.versions(self.model))
        return self.server.settled(self.model, set(configured), self.on_step)


class _LockNeededError(Exception):
    """Something has to be written, and the repository is not locked yet."""


class _Run:
    """One switch under way; without a writer it finds out whether there is anything to do."""

    def __init__(self, switch: Switch, writer: RepositoryWriter | None) -> None:
        self.switch = switch
        self._writer = writer
        self.config = OvmsConfig.read(switch.repository.config_path)
        self.server, self.model = switch.server, switch.model
        self.split_model = switch._split_model
        self.steps = 0

    def _require_lock(self) -> RepositoryWriter:
        if self._writer is None:
            raise _LockNeededError
        return self._writer

    def to(self, split: Split, *, retire: bool) -> Switched:
        begun = time.monotonic()
        served = self.switch.served(self.config)
        original, wanted = self.config, set(split)
        try:
            self._prove(wanted - served)
            self._remember(served)
            self._serve(served | wanted, check=wanted - served)
        except ConfigChangedError:
            raise
        except KeyboardInterrupt:
            self._restore(original)
            raise
        except BertQAError as error:
            if not self._restore(original):
                raise
            outcome = self._undone(served)
            raise SwitchRolledBackError(
                f"The switch to {format_split(split)} was undone, and {outcome}: "
                f"{_sentence(error)}",
                detail=error.detail,
            ) from error
        leaving = {v for v in served if v > max(wanted) or (retire and v not in wanted)}
        if leaving:
            self._require_lock()  # Before the wait for their traffic, which is not made twice.
        self._publish(split, leaving)
        kept = (served | wanted) - leaving
        self._serve(kept)
        if self.split_model.return_under_way() is not None:
            self.split_model.note_return(None, self._require_lock())
            self.steps += 1
        if not self.steps:
            raise NothingToDoError(
                f"The split is {format_split(split)} and version {max(wanted)} is the default "
                "already: nothing was changed."
            )
        seconds = round(time.monotonic() - begun, 3)
        return Switched(self.model, split, max(kept), sorted(kept), sorted(leaving), seconds)

    def _prove(self, versions: set[int]) -> None:
        """Serve versions under a name that no client uses, and ask the smoke question there."""
        if not versions:
            return
        trial = self.switch._trial
        entry = self.config.entry(self.model)
        policy = specific_versions(versions)
        self._require_lock()
        self._step(f"{named(versions)} on trial, as {trial}: no client asks there")
        self._edit({**entry, "name": trial, "model_version_policy": policy})
        self._loaded(trial, versions)
        self._smoke(trial, versions, versions)

    def _remember(self, served: set[int]) -> None:
        """Have the history begin with what was before the first switch."""
        if not self.split_model.history():
            self.split_model.publish({max(served): ALL}, self._require_lock())

    def _serve(self, versions: set[int], check: set[int] | None = None) -> None:
        """Serve these versions and no others, and no trial."""
        policy = specific_versions(versions)
        entry = {**self.config.entry(self.model), "model_version_policy": policy}
        if self._edit(entry, self.split_model.entry(entry), remove=self.switch._trial):
            self._step(f"{named(versions)} served")
        self._loaded(self.model, versions)
        if check:
            self._smoke(self.model, versions, check)
            # Those who follow the split do not wait for kernels of a length that is new.
            self._asked(self.model, versions, partial(self.server.warm_up, self.model, check))

    def _publish(self, split: Split, leaving: set[int]) -> None:
        """Publish the split, and wait until the server reports it and its followers read it."""
        changed = self.split_model.history()[-1] != split
        if changed:
            writer = self._require_lock()
            self.split_model.note_return(split if self.switch.returning else None, writer)
            self.split_model.publish(split, writer)
            self._step(f"the split is {format_split(split)}")
        if not self.split_model.file_says(split):
            self.split_model.write_file(split, self._require_lock())
            self.steps += 1
        wanted = f"the server to report the split {format_split(split)}"
        self._wait_for(lambda _: None if self.server.split(self.model) == split else wanted)
        if changed or leaving:
            noticing = noticed_seconds() if self.server.was_away else 0.0
            time.sleep(self.switch.drain_seconds + noticing)

    def _loaded(self, model: str, versions: set[int]) -> None:
        """Wait until these versions of a model are available, and no others are."""

        looks = 0

        def look(states: States) -> str | None:
            nonlocal looks
            looks += 1
            found = states.get(model, {})
            for version in versions & found.keys():
                if found[version].state in LOADING and found[version].error:
                    raise DeployError(
                        f"Version {version} does not load (the server reports "
                        f"{found[version].error}; its log has the reason)."
                    )
            return difference(available(states, model), versions, model) or (
                last_requests({model: found})
            )

        self._wait_for(look)
        self.steps += looks > 1  # An earlier command's work was still under way.

    def _wait_for(self, look: Look) -> None:
        missing = self.server.wait_for(look, self.switch.on_step)
        if missing is not None:
            raise SwitchUnfinishedError(
                f"After {self.server.patience:g} s {self.server.address} still waits for "
                f"{missing}: is {self.config.path} the file that it reads? A version is retired "
                "when its requests have ended, also those whose callers gave up. Run the same "
                "command again to resume."
            )

    def _smoke(self, model: str, versions: set[int], check: set[int]) -> None:
        with self.server.client(model) as client:
            for version in sorted(check):
                ask = partial(self.switch.smoke.check, client, version)
                try:
                    answer = self._asked(model, versions, ask)
                except DeployError:
                    raise
                except BertQAError as error:
                    raise DeployError(
                        f"Version {version} does not answer: {error}", detail=error.detail
                    ) from error
                self._step(f"version {version} of {model} answers {answer!r}")

    def _asked(self, model: str, versions: set[int], ask: Callable[[], T]) -> T:
        """Ask a model once the server has these versions, and again if it was away meanwhile."""
        give_up = time.monotonic() + self.server.patience
        away, not_there = pauses(give_up, patient=True), pauses(give_up, patient=False)
        while True:
            self._loaded(model, versions)
            try:
                return ask()
            except (*NO_ANSWER, *_NOT_THERE) as error:
                self.server.was_away = True
                pause = next(away if isinstance(error, NO_ANSWER) else not_there, None)
                if pause is None:
                    raise
            time.sleep(pause)

    def _edit(self, *entries: Entry, remove: str | None = None) -> bool:
        """Change `config.json`; return False where it says so already."""
        edited = self.config.edited(*entries, remove=remove)
        if edited == self.config:
            return False
        self.config = self._require_lock().replace_config(self.config, edited.new_text)
        return True

    def _restore(self, original: OvmsConfig) -> bool:
        """Put the configuration back; return False where it was not changed.

        Raises:
            ConfigChangedError: Another program edited it.
        """
        if self.config.text == original.text:
            return False
        self.config = self._require_lock().replace_config(self.config, original.text or "")
        return True

    def _undone(self, served: set[int]) -> str:
        """Wait until the server is as it was, and return whether it is."""

        def look(states: States) -> str | None:
            trial = self.switch._trial
            have = available(states, self.model)
            return difference(available(states, trial), set(), trial) or (
                difference(have, served, self.model)
            )

        missing: str | None = "it to answer"
        seconds = min(_UNDO_SECONDS, self.server.patience)
        with contextlib.suppress(*NO_ANSWER):
            missing = self.server.wait_for(look, self.switch.on_step, seconds=seconds)
        if missing is None:
            return "everything is as it was"
        return f"so is config.json, but {self.server.address} still waits for {missing}"

    def _step(self, sentence: str) -> None:
        self.steps += 1
        self.switch.on_step(sentence)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "?")) else f"{text}."
