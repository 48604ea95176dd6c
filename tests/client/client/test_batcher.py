from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bertqa.client._batcher import Batcher, InFlightQuestion, PendingWindow
from bertqa.client._effects import RunInference, WindowResult
from bertqa.client._options import Settings
from bertqa.client._question import AnswerFlow, Question
from bertqa.errors import ProtocolError, ServerUnreachableError
from bertqa.qa import QATokenizer, collate
from bertqa.transport import InferResult
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, tokenizer_json

CONTEXT = "The Normans gave their name to Normandy. "
TOKENIZER = QATokenizer.from_json(tokenizer_json())


def nothing() -> AnswerFlow:
    yield from ()
    return []


def pending(number: int, length: int = 1, version: int | None = 1) -> list[PendingWindow]:
    """The windows of a question."""
    question = Question("Who?", CONTEXT * length, 1, Settings.of({}, 60.0))
    owner = InFlightQuestion(question, nothing(), number)
    windows = TOKENIZER.windows(question.question, question.context)
    owner.results = [None] * len(windows)
    return [
        PendingWindow(owner, owner.results, index, window, version)
        for index, window in enumerate(windows)
    ]


def drain(batcher: Batcher) -> Iterator[RunInference]:
    """Take all batches that there are, as if nothing were too much at once."""
    batcher._limit = 1000
    while (batch := batcher.next_batch(flush=True)) is not None:
        yield batch


def run(batch: RunInference) -> InferResult:
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    return transport.infer(collate(batch.windows), version=batch.version, timeout=60.0)


def test_a_batch_is_of_one_version_and_one_length() -> None:
    batcher = Batcher()
    for number in range(60):
        batcher.add(pending(number, 1 + number % 20, 1 + number % 2))
    batches = list(drain(batcher))
    assert {batch.version for batch in batches} == {1, 2}
    assert sum(len(batch.windows) for batch in batches) == 60
    for batch in batches:
        assert len({-(-len(window) // 32) for window in batch.windows}) == 1


def test_each_window_gets_its_own_result() -> None:
    batcher = Batcher()
    windows = [window for number in range(10) for window in pending(number, 1 + number)]
    batcher.add(windows)
    found: dict[PendingWindow, WindowResult] = {}
    for batch in drain(batcher):
        for window, result in batcher.receive(batch, run(batch)):
            assert isinstance(result, WindowResult)
            found[window] = result
    assert found.keys() == set(windows)
    for window, result in found.items():
        alone = run(RunInference([window.window], 1))
        expected = alone.outputs["start_logits"][0, : len(window.window)]
        assert np.array_equal(result.logits.start, expected)
        assert result.model_version == 1


def test_an_error_is_of_the_batch_alone() -> None:
    batcher = Batcher(token_budget=64)
    for number in range(6):
        batcher.add(pending(number, 2))
    *others, last = drain(batcher)
    assert others
    lost = ServerUnreachableError("It is gone.")
    assert [result for _, result in batcher.receive(last, lost)] == [lost] * len(last.windows)
    strange = batcher.receive(others[0], InferResult({}, 1))
    assert {type(result) for _, result in strange} == {ProtocolError}


def test_windows_that_nothing_waits_for_are_left_out() -> None:
    batcher = Batcher()
    first, second = pending(0), pending(1)
    batcher.add(first)
    batcher.add(second)
    first[0].owner.outcome = []
    (batch,) = drain(batcher)
    assert batch.windows == [second[0].window]


@pytest.mark.parametrize(("timeout", "at_once"), [(1e9, 16), (1e-9, 1)])
def test_more_is_sent_at_once_while_answers_come_soon(timeout: float, at_once: int) -> None:
    batcher = Batcher(timeout, token_budget=64)
    for number in range(80):
        batcher.add(pending(number, 2))
    flying: list[RunInference] = []
    most = 0
    for step in range(40):
        while (batch := batcher.next_batch(flush=True)) is not None:
            flying.append(batch)
        most = max(most, len(flying)) if step > 10 else 0
        first = flying.pop(0)
        batcher.receive(first, ServerUnreachableError("It is gone."))
    assert most == at_once
