"""Moving traffic between versions of a server that has a `config.json`, without a failed request.

Each step looks at what is there and does what is missing, so that a switch that was killed is
finished by the same command. OVMS answers with the highest version that it serves where a client
names none, so the highest version of a split is the default; higher ones are withdrawn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

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
    DeadlineExceededError,
    RepositoryError,
    ServerUnreachableError,
)
from bertqa.transport import AVAILABLE
from bertqa_deploy.errors import (
    DeployError,
    NothingToDoError,
    SwitchRolledBackError,
    SwitchUnfinishedError,
)
from bertqa_deploy.manifests import check_manifest
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.split_model import SplitModel

# By then every client that follows the split has read it anew and asks by it.
DRAIN_SECONDS = 1.5 * _defaults.FOLLOW_SECONDS
ALL = 100.0

LOADING = "LOADING"
_GONE = ("END", "UNLOADING")

OnStep = Callable[[str], None]


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
    version is kept after the split has left it; `on_step` is called with a sentence for each step.
    """

    repository: Repository
    server: Server
    model: str = MODEL_NAME
    smoke: Smoke = field(default_factory=Smoke)
    drain_seconds: float = DRAIN_SECONDS
    on_step: OnStep = lambda _: None

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
            ServerUnreachableError: The server cannot be reached.
        """
        with RepositoryWriter(self.repository, wait_seconds=0) as writer:
            for version in sorted(split):
                self.repository.require_version(version, self.model)
                check_manifest(self.repository, version, self.model, force=force)
            return _Run(self, writer).to(
                {version: percent for version, percent in split.items() if percent > 0},
                retire=retire,
            )

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
        target = current = history[-1]
        if not any(number > max(current) for number in self.server.available(self.model)):
            earlier = [split for split in history if split != current]
            if not earlier:
                raise NothingToDoError(
                    "There is nothing to go back to: the split has always been "
                    f"{format_split(current)}."
                )
            target = earlier[-1]
        return self.move(target, retire=retire, force=True)


class _Run:
    """One switch under way."""

    def __init__(self, switch: Switch, writer: RepositoryWriter) -> None:
        self.switch = switch
        self.writer = writer
        self.config = OvmsConfig.read(switch.repository.config_path)
        self.server, self.model = switch.server, switch.model
        self.split_model = switch._split_model
        self.steps = 0

    def to(self, split: Split, *, retire: bool) -> Switched:
        begun = time.monotonic()
        served = self._settled()
        original = self.config
        wanted = set(split)
        try:
            self._prove(wanted - served)
            self._serve(served | wanted, check=wanted - served)
        except ConfigChangedError:
            raise
        except KeyboardInterrupt:
            self._undo(original)
            raise
        except BertQAError as error:
            self._undo(original)
            raise SwitchRolledBackError(
                f"The switch to {format_split(split)} was undone, and everything is as it was: "
                f"{_sentence(error)}",
                detail=error.detail,
            ) from error
        leaving = {v for v in served if v > max(wanted) or (retire and v not in wanted)}
        self._publish(split, leaving)
        kept = (served | wanted) - leaving
        self._serve(kept)
        if not self.steps:
            raise NothingToDoError(
                f"The split is {format_split(split)} and version {max(wanted)} is the default "
                "already: nothing was changed."
            )
        seconds = time.monotonic() - begun
        return Switched(
            self.model, split, max(kept), sorted(kept), sorted(leaving), round(seconds, 3)
        )

    def _settled(self) -> set[int]:
        """Wait until earlier changes are carried out, and return the versions that are served."""
        entry = self.config.entry(self.model)
        if "base_path" not in entry:
            raise RepositoryError(f"{self.config.path} has no base_path for {self.model}.")
        self.server.reload()
        states = {}

        def settled() -> bool:
            states.update(self.server.states(self.model))
            return all(state in (AVAILABLE, *_GONE) or error for state, error in states.values())

        if not self.server.wait_until(settled):
            raise SwitchUnfinishedError(
                f"{self.server.address} is still loading {self.model}: nothing was changed."
            )
        served = {version for version, found in states.items() if found.state == AVAILABLE}
        if not served:
            raise DeployError(
                f"{self.server.address} serves no version of {self.model}: nothing was changed. "
                "Start it with a version that works first."
            )
        return served

    def _prove(self, versions: set[int]) -> None:
        """Serve versions under a name that no client uses, and ask the smoke question there."""
        if not versions:
            return
        trial = self.switch._trial
        entry = self.config.entry(self.model)
        policy = specific_versions(versions)
        self._step(f"{_named(versions)} on trial, as {trial}: no client asks there")
        self._edit({**entry, "name": trial, "model_version_policy": policy})
        self._loaded(trial, versions)
        self._smoke(trial, versions)

    def _serve(self, versions: set[int], check: set[int] | frozenset[int] = frozenset()) -> None:
        """Serve these versions and no others, and no trial."""
        policy = specific_versions(versions)
        entry = {**self.config.entry(self.model), "model_version_policy": policy}
        if not self.split_model.history():
            before = self.server.available(self.model)
            self.split_model.publish({max(before): ALL}, self.writer)
        if self._edit(entry, self.split_model.entry(entry), remove=self.switch._trial):
            self._step(f"{_named(versions)} served")
        self._loaded(self.model, versions)
        if check:
            self._smoke(self.model, check)
            self._warm_up(check)

    def _publish(self, split: Split, leaving: set[int]) -> None:
        """Publish the split, and wait until the server reports it and its followers read it."""
        changed = self.split_model.history()[-1] != split
        if changed:
            self.split_model.publish(split, self.writer)
            self._step(f"the split is {format_split(split)}")
        self.split_model.write_file(split, self.writer)
        if not self.server.wait_until(lambda: self.server.split(self.model) == split):
            raise SwitchUnfinishedError(
                f"{self.server.address} does not report the split {format_split(split)} after "
                f"{self.server.patience:g} s. Run the same command again to resume."
            )
        if changed or leaving:
            noticing = noticed_seconds() if self.server.was_away else 0.0
            time.sleep(self.switch.drain_seconds + noticing)

    def _loaded(self, model: str, versions: set[int]) -> None:
        """Wait until these versions of a model are available, and no others are."""

        def reached() -> bool:
            states = self.server.states(model)
            for version in versions & states.keys():
                if states[version].state == LOADING and states[version].error:
                    raise DeployError(
                        f"Version {version} does not load (the server reports "
                        f"{states[version].error}; its log has the reason)."
                    )
            available = {v for v, found in states.items() if found.state == AVAILABLE}
            leaving = {v for v, found in states.items() if found.state == "UNLOADING"}
            return available == versions and not leaving

        if not self.server.wait_until(reached):
            raise SwitchUnfinishedError(
                f"{self.server.address} does not serve {_named(versions)} of {model} after "
                f"{self.server.patience:g} s: is {self.config.path} the file that it reads?"
            )

    def _smoke(self, model: str, versions: set[int] | frozenset[int]) -> None:
        with self.server.client(model) as client:
            for version in sorted(versions):
                try:
                    answer = self.switch.smoke.check(client, version)
                except DeployError:
                    raise
                except BertQAError as error:
                    raise DeployError(
                        f"Version {version} does not answer: {error}", detail=error.detail
                    ) from error
                self._step(f"version {version} of {model} answers {answer!r}")

    def _warm_up(self, versions: set[int] | frozenset[int]) -> None:
        """Run each length, so that those who follow the split do not wait for kernels."""
        self.server.warm_up(self.model, versions)

    def _edit(self, *entries: Entry, remove: str | None = None) -> bool:
        """Change `config.json`; return False where it says so already."""
        edited = self.config.edited(*entries, remove=remove)
        if edited == self.config:
            return False
        self.config = self.writer.replace_config(self.config, edited.new_text)
        return True

    def _undo(self, original: OvmsConfig) -> None:
        """Put the configuration back. Raises ConfigChangedError where another program edited it."""
        if self.config.text == original.text:
            return
        self.config = self.writer.replace_config(self.config, original.text or "")
        with contextlib.suppress(ServerUnreachableError, DeadlineExceededError):
            self.server.reload()

    def _step(self, sentence: str) -> None:
        self.steps += 1
        self.switch.on_step(sentence)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "?")) else f"{text}."


def _named(versions: set[int]) -> str:
    numbers = sorted(versions)
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    return f"versions {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
