from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bertqa import _defaults
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
        PendingWindow(owner, owner.results, index, windows, version)
        for index in range(len(windows))
    ]


def drain(batcher: Batcher) -> Iterator[RunInference]:
    """Take all batches that there are."""
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
    assert [each.input_ids.tolist() for each in batch.windows] == [
        each.window.input_ids.tolist() for each in second
    ]


def test_a_context_of_thousands_of_windows_goes_out_in_batches_of_the_budget() -> None:
    batcher = Batcher()
    windows = pending(0, 50_000)
    assert len(windows) > 1000
    batcher.add(windows)
    batches = list(drain(batcher))
    assert sum(len(batch.windows) for batch in batches) == len(windows)
    for batch in batches:
        assert collate(batch.windows)["input_ids"].size <= _defaults.TOKEN_BUDGET


def test_a_window_above_the_budget_goes_out_alone() -> None:
    batcher = Batcher(token_budget=16)
    batcher.add(pending(0, 30))
    assert {len(batch.windows) for batch in drain(batcher)} == {1}
