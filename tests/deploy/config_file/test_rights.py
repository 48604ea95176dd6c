"""Who may write when, and what is left where a switch ends before its time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import (
    OvmsConfig,
    Repository,
    RepositoryWriter,
    Split,
    complete_config,
    plugin_config,
)
from bertqa.errors import RepositoryBusyError
from bertqa_deploy.config_file import ConfigTarget
from bertqa_deploy.errors import (
    DeployError,
    InconclusiveError,
    NothingToDoError,
    RolledBackError,
    SwitchedMeanwhileError,
)
from bertqa_deploy.rollout import Evidence, Judgement, Memory, Moved, Plan, Rollout, Verdict
from tests.deploy.config_file.faults import write_repository
from tests.deploy.config_file.instant import MODEL, TRIAL, InstantServer
from tests.deploy.conftest import SMOKE

TO_2 = {2: 100.0}


class Server:
    """A repository with a server on it that serves at once, and the commands that operate it."""

    def __init__(self, root: Path) -> None:
        write_repository(root)
        self.repository = Repository(root)
        self.instant: Any = InstantServer(self.repository)
        self.memory = root / f"{MODEL}.rollout.json"

    def target(self, **options: Any) -> ConfigTarget:
        return ConfigTarget(self.repository, self.instant, smoke=SMOKE, drain_seconds=0, **options)

    def move(
        self, split: Split, *evidence: Evidence, steps: tuple[int, ...] = (100,), **options: Any
    ) -> Moved:
        with self.target(**options) as target:
            return Rollout(target, Plan(steps=steps), evidence).move(split)

    def back(self) -> Moved:
        with self.target() as target:
            return Rollout(target).back()

    @property
    def config(self) -> str:
        return self.repository.config_path.read_text(encoding="utf-8")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "model_repository")


def at_the_first_step(do: Callable[[], object]) -> Callable[[str], None]:
    def on_step(step: str) -> None:
        if step.startswith("the split is 1=95,2=5"):
            do()

    return on_step


def test_a_second_switch_is_refused_for_as_long_as_the_first_takes(server: Server) -> None:
    refused: list[str] = []

    def switch_too() -> None:
        commands: list[Callable[[], Moved]] = [lambda: server.move({3: 100.0}), server.back]
        for command in commands:
            with pytest.raises(RepositoryBusyError) as caught:
                command()
            refused.append(str(caught.value))

    moved = server.move(TO_2, steps=(5, 100), on_step=at_the_first_step(switch_too))

    assert moved.split == TO_2
    assert len(refused) == 2
    assert "Another switch is under way" in refused[0]
    assert "nothing was changed" in refused[0]
    assert server.back().split == {1: 100.0}, "the right to switch is dropped at the end"


def test_others_write_to_the_repository_while_a_switch_holds(server: Server) -> None:
    def write() -> None:
        with RepositoryWriter(server.repository, wait_seconds=0) as writer:
            assert writer.next_number(MODEL) == 5
        complete_config(server.repository, MODEL, 3)

    server.move(TO_2, steps=(5, 100), on_step=at_the_first_step(write))

    entry = OvmsConfig.read(server.repository.config_path).entry(MODEL)
    assert entry["plugin_config"] == plugin_config(3)
    assert entry["model_version_policy"] == {"specific": {"versions": [1, 2]}}


def test_a_switch_waits_for_others_that_write_once_it_has_begun(server: Server) -> None:
    writer = RepositoryWriter(server.repository)

    def on_step(step: str) -> None:
        if step.startswith("the split is 1=95"):
            writer.__enter__()
        elif step.startswith("waiting for "):
            writer.__exit__(None, None, None)

    assert server.move(TO_2, steps=(5, 100), on_step=on_step).split == TO_2


def test_a_state_that_another_switch_changed_before_the_first_effect_is_left(
    server: Server,
) -> None:
    def switch_first() -> None:
        server.instant.meanwhile = lambda: None
        server.move({3: 100.0})

    server.instant.meanwhile = switch_first
    with pytest.raises(SwitchedMeanwhileError, match="run the same command again"):
        server.move(TO_2)
    assert server.instant.split(MODEL) == {3: 100.0}
    assert server.instant.available(MODEL) == {1, 3}
    assert server.move(TO_2).split == TO_2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupted_trial_leaves_the_configuration_as_it_was(
    server: Server, error: BaseException
) -> None:
    before = server.config
    server.instant.raises = error
    with pytest.raises(type(error)):
        server.move(TO_2)
    assert server.config == before

    server.instant.raises = None
    assert server.back().split == {1: 100.0}
    assert server.move(TO_2).split == TO_2


@pytest.mark.parametrize("error", [OSError("no route"), ZeroDivisionError("a fault of ours")])
def test_any_error_in_a_trial_is_undone(server: Server, error: Exception) -> None:
    before = server.config
    server.instant.raises = error
    with pytest.raises(RolledBackError, match=r"returned to 1=100: .*(no route|a fault of ours)"):
        server.move(TO_2)
    assert server.config == before
    assert server.instant.split(MODEL) is None


def test_no_user_reaches_a_version_before_the_evidence_is_heard(server: Server) -> None:
    heard: list[tuple[int, int]] = []
    with server.target() as target:

        def evidence(good: int, candidate: int) -> Judgement:
            heard.append((good, candidate))
            assert server.instant.available(MODEL) == {1}
            for version in (good, candidate):
                with target.client(version) as client:
                    assert client.answer("When?", "1932", version=version).text == "1932"
            return Judgement(Verdict.SUCCESSFUL, "")

        Rollout(target, evidence=[evidence]).move(TO_2)
    assert heard == [(1, 2)]
    assert server.instant.available(MODEL) == {1, 2}


def test_a_trial_ends_where_the_evidence_does_not_suffice(server: Server) -> None:
    with pytest.raises(InconclusiveError):
        server.move(TO_2, lambda *_: Judgement(Verdict.INCONCLUSIVE, "Too few."))
    assert TRIAL not in server.config
    assert server.move(TO_2).split == TO_2


def test_no_clock_on_the_wall_matters(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = itertools.cycle([0.0, 4e9, -1.0, 1e6])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    server.move(TO_2, steps=(5, 100))
    assert server.back().split == {1: 100.0}


def test_a_memory_of_a_later_release_is_read(server: Server) -> None:
    server.move(TO_2)
    text = server.memory.read_text(encoding="utf-8")
    server.memory.write_text(text.replace("{", '{"later": [1],', 1), encoding="utf-8")
    assert server.back().split == {1: 100.0}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"good": "1=99"}', '{"goal": "1=100"}'])
def test_a_damaged_memory_is_named_with_the_way_out(server: Server, text: str) -> None:
    server.move(TO_2)
    server.memory.write_text(text, encoding="utf-8")
    for command in (server.back, lambda: server.move({3: 100.0})):
        with pytest.raises(DeployError, match=r"rollout\.json .* is damaged: remove it"):
            command()
    server.memory.unlink()
    assert server.back().split == {1: 100.0}


def test_a_repository_that_an_older_release_switched_is_switched_on(server: Server) -> None:
    server.move(TO_2)
    server.memory.unlink()
    with pytest.raises(NothingToDoError):
        server.move(TO_2)
    assert server.back().split == {1: 100.0}


def test_a_return_that_an_older_release_began_is_finished(server: Server) -> None:
    server.move(TO_2)
    server.move({3: 100.0})
    server.memory.unlink()
    returning = server.repository.root / "bert-qa-traffic" / "returning"
    returning.write_text("2=100\n", encoding="utf-8")
    with server.target() as target:
        assert target.current().memory == Memory({3: 100.0}, TO_2, TO_2, returning=True)
    assert server.back().split == TO_2
    with pytest.raises(NothingToDoError, match="2=100 is the last good split"):
        server.back()
