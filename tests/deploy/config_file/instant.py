"""A server that serves at once what the files of a repository say, for tests without engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertqa.artifact import OvmsConfig, Repository, Split
from bertqa.errors import VersionNotFoundError
from bertqa.transport import AVAILABLE, VersionState
from bertqa_deploy.config_file import SplitModel
from bertqa_deploy.waiting import States

MODEL, TRAFFIC, TRIAL = "bert-qa", "bert-qa-traffic", "bert-qa-trial"
BROKEN = "<net"


class InstantServer:
    """A server that serves at once what the files of a repository say."""

    address = "http://instant"
    patience = 1.0
    was_away = False

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.raises: BaseException | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def states(self) -> dict[str, dict[int, VersionState]]:
        config = OvmsConfig.read(self.repository.config_path)
        return {
            entry["name"]: {
                version: self._state(Path(entry["base_path"]).name, version)
                for version in config.policy(entry["name"]).choose(
                    self.repository.versions(Path(entry["base_path"]).name)
                )
            }
            for entry in config.entries
        }

    def available(self, model: str) -> set[int]:
        states = self.states().get(model, {})
        return {version for version, each in states.items() if each.state == AVAILABLE}

    def settled(self, model: str, configured: set[int], on_wait: object) -> set[int]:
        self.meanwhile()
        return self.available(model)

    def wait_for(self, look: Callable[[States], str | None], on_wait: object) -> str | None:
        missing = look(self.states())
        return missing if missing is None else look(self.states())

    def split(self, model: str) -> Split | None:
        if not self.available(TRAFFIC):
            return None
        return SplitModel(self.repository, model).history()[-1]

    def client(self, model: str) -> InstantClient:
        return InstantClient(self, model)

    def warm_up(self, model: str, versions: object) -> None:
        pass

    def _state(self, model: str, version: int) -> VersionState:
        text = (self.repository.version_dir(version, model) / "model.xml").read_text()
        return (
            VersionState("LOADING", "UNKNOWN") if text == BROKEN else VersionState(AVAILABLE, None)
        )


@dataclass(frozen=True)
class InstantClient:
    """A client whose answers are right."""

    server: InstantServer
    model: str

    def __enter__(self) -> InstantClient:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def answer(self, question: str, context: str, *, version: int) -> Any:
        if self.server.raises is not None:
            raise self.server.raises
        if version not in self.server.available(self.model):
            raise VersionNotFoundError(f"There is no version {version} of {self.model}.")
        return _Answer("1932")


@dataclass(frozen=True)
class _Answer:
    text: str
