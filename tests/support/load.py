"""Clients that ask without pause while something happens to the server."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from bertqa import Answer, BertQAError, QAClient
from bertqa.errors import DeadlineExceededError, ModelNotReadyError, ServerUnreachableError
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

QUESTION = "When was the bridge opened?"
CONTEXT = "The bridge was opened in 1932 after four years of work."
PATIENCE = 60.0
AWAY = (ServerUnreachableError, ModelNotReadyError, DeadlineExceededError)
"""What a client reports about a server that is away longer than it waits."""


@functools.cache
def right_answers() -> dict[int, Answer]:
    """What each toy version answers, which no other one does."""
    versions = range(1, 5)
    with QAClient(transport=InProcessTransport(dict.fromkeys(versions, model_info()))) as itself:
        right = {v: itself.answer(QUESTION, CONTEXT, version=v) for v in versions}
    assert len({(each.text, each.score) for each in right.values()}) == len(versions)
    return right


@dataclass
class Load:
    """What the clients got: when each question was asked, and the version that answered.

    `followed` are the answers of clients that follow the split, `default` those of the others. All
    of them are what the version that they name answers: anything else is among the `errors`.
    """

    default: list[tuple[float, int]] = field(default_factory=list)
    followed: list[tuple[float, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def observe(self, count: int = 12, patience: float = PATIENCE) -> tuple[set[int], set[int]]:
        """Wait for so many answers of each kind to the questions from now on.

        Returns:
            The versions that answered clients without a version, and those that follow.
        """
        moment = time.monotonic()
        give_up = moment + patience
        kinds = (self.default, self.followed)
        while any(len(since(kind, moment)) < count for kind in kinds):
            assert not self.errors, self.errors[:3]
            assert time.monotonic() < give_up, f"no {count} answers in {patience:g} s"
            time.sleep(0.02)
        assert not self.errors, self.errors[:3]
        return since_versions(self.default, moment), since_versions(self.followed, moment)


def since(answers: list[tuple[float, int]], moment: float) -> list[int]:
    """The versions that answered the questions since then; answers come nearly in order."""
    found = []
    for sent, version in reversed(list(answers)):
        if sent >= moment:
            found.append(version)
        elif sent < moment - PATIENCE:
            break
    return found


def since_versions(answers: list[tuple[float, int]], moment: float) -> set[int]:
    return set(since(answers, moment))


@contextmanager
def asking(
    clients: Sequence[tuple[QAClient, bool]],
    may_fail: tuple[type[BertQAError], ...] = (),
    pause_seconds: float = 0,
) -> Iterator[Load]:
    """Let every client ask while the block runs, by default without pause; none may have failed."""
    found, right = Load(), right_answers()
    ended = threading.Event()

    def ask(client: QAClient, follows: bool) -> None:
        answers = found.followed if follows else found.default
        while not ended.wait(pause_seconds):
            sent = time.monotonic()
            try:
                answer = client.answer(QUESTION, CONTEXT)
                if answer != right[answer.model_version]:
                    found.errors.append(f"version {answer.model_version} did not say {answer}")
                answers.append((sent, answer.model_version))
            except may_fail:
                continue
            except BertQAError as error:
                found.errors.append(f"{type(error).__name__}: {error} ({error.detail})")

    with ThreadPoolExecutor(len(clients)) as pool:
        running = [pool.submit(ask, *each) for each in clients]
        try:
            found.observe(8)
            yield found
        finally:
            ended.set()
    for each in running:
        each.result()
    assert not found.errors, found.errors[:3]
