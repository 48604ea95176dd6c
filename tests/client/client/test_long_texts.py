"""A long text holds up neither the event loop nor the deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from bertqa import AsyncQAClient, PipelineDecoder, QATokenizer, SquadDecoder, _defaults
from bertqa.client._local import ThreadedTransport
from bertqa.client._pace import WorkPace
from bertqa.errors import (
    ClientStateError,
    DeadlineExceededError,
    InvalidContextError,
    InvalidQuestionError,
    TextTooLongError,
)
from bertqa.qa import Decoder, Logits, Pace, Span, Window
from bertqa.qa._encoding import Encoder
from tests.support.in_process import InProcessTransport
from tests.support.models import tokenizer_json
from tests.support.twins import Twins

QUESTION = "Who gave their name to Normandy?"
SENTENCE = "The Normans were the people who gave their name to Normandy, a region of France. "
LONG = SENTENCE * 2_000


class Counted:
    """A tokenizer that notes the lengths of texts that it encodes while it holds the lock."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.lengths: list[int] = []

    def encode(self, text: str, **options: Any) -> Any:
        self.lengths.append(len(text))
        return self._tokenizer.encode(text, **options)

    def encode_batch(self, texts: Sequence[str], **options: Any) -> Any:
        return self._tokenizer.encode_batch(texts, **options)


class Watched:
    """A decoder that notes in which threads it works."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def decode(
        self, context: str, windows: Sequence[Window], logits: Sequence[Logits], top_k: int
    ) -> list[Span]:
        self.threads.add(threading.get_ident())
        return PipelineDecoder().decode(context, windows, logits, top_k)


async def test_the_loop_does_nothing_long_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither at first contact, where the tokenizer has to be learnt, nor later."""
    threads: set[int] = set()
    tokens = Encoder._tokens

    def watched(self: Encoder, text: str, pace: Pace) -> Any:
        threads.add(threading.get_ident())
        self._tokenizer = self._tokenizer if isinstance(self._tokenizer, Counted) else counted(self)
        return tokens(self, text, pace)

    made: list[Counted] = []

    def counted(encoder: Encoder) -> Any:
        made.append(Counted(encoder._tokenizer))
        return made[-1]

    monkeypatch.setattr(Encoder, "_tokens", watched)
    decoder = Watched()
    async with AsyncQAClient(transport=ThreadedTransport(InProcessTransport())) as client:
        for number in range(2):
            answer = await client.answer(QUESTION, LONG + "x" * number, decoder=decoder)
            assert LONG[answer.start : answer.end] == answer.text
        await client.answer(LONG, SENTENCE)
    loop = threading.get_ident()
    assert loop not in threads | decoder.threads
    assert all(length <= _defaults.LONG_TEXT for each in made for length in each.lengths)


async def test_a_loop_turns_while_a_long_context_is_answered() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    async with AsyncQAClient(transport=ThreadedTransport(InProcessTransport())) as client:
        await client.answer(QUESTION, SENTENCE)
        before = turns
        tokenizer = client._registry.get(None)
        assert tokenizer is not None
        await client.answer(QUESTION, LONG)
        assert turns > before + 100
    turning.cancel()


@pytest.mark.parametrize("decoder", [PipelineDecoder(), SquadDecoder()])
def test_a_long_context_has_the_answers_of_its_windows(
    open_client: Twins, decoder: Decoder
) -> None:
    transport = InProcessTransport()
    context = "".join(f"Fact {number}: {SENTENCE}" for number in range(600))
    found = open_client(transport=transport).answers(QUESTION, context, decoder=decoder)
    windows = list(QATokenizer.from_json(tokenizer_json()).windows(QUESTION, context))
    logits = []
    for window in windows:
        inputs = {
            "input_ids": window.input_ids[None],
            "attention_mask": window.attention_mask[None],
            "token_type_ids": window.token_type_ids[None],
        }
        outputs = transport.infer(inputs, version=None, timeout=1.0).outputs
        logits.append(Logits(outputs["start_logits"][0], outputs["end_logits"][0]))
    expected = decoder.decode(context, windows, logits, _defaults.TOP_K)
    assert [(each.start, each.end) for each in found] == [
        (each.start, each.end) for each in expected
    ]


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Encoding takes for ever; the errors that end it are kept."""
    ended: list[BaseException] = []
    whole = Encoder._encoded

    def encoded(self: Encoder, text: str, pace: Pace) -> Any:
        if len(text) <= _defaults.LONG_TEXT:
            yield from whole(self, text, pace)
            return
        try:
            while True:
                time.sleep(0.001)
                pace()
        except BaseException as error:
            ended.append(error)
            raise

    monkeypatch.setattr(Encoder, "_encoded", encoded)
    return ended


@pytest.mark.parametrize("texts", [(QUESTION, LONG), (LONG, SENTENCE)])
def test_the_deadline_holds_while_a_text_is_tokenised(
    open_client: Twins, endless: list[BaseException], texts: tuple[str, str]
) -> None:
    client = open_client(transport=InProcessTransport())
    with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s.*itself worked on the text"):
        client.answer(*texts, timeout=0.3)
    with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s.*itself worked on the text"):
        list(client.answer_many([(QUESTION, SENTENCE), texts], timeout=0.3))
    assert client.answer(QUESTION, SENTENCE).text


def test_a_text_that_takes_too_long_is_an_error_of_its_pair_alone(
    open_client: Twins, endless: list[BaseException]
) -> None:
    client = open_client(transport=InProcessTransport())
    pairs = [(QUESTION, SENTENCE), (QUESTION, LONG), (LONG, SENTENCE), (QUESTION, SENTENCE)]
    first, second, third, last = client.answer_many(pairs, return_errors=True, timeout=0.3)
    assert isinstance(second, TextTooLongError)
    assert isinstance(third, TextTooLongError)
    assert first == last == client.answer(QUESTION, SENTENCE)


def test_the_deadline_holds_while_the_answer_is_chosen(open_client: Twins) -> None:
    class Endless:
        def decode(
            self, context: str, windows: Sequence[Window], logits: Sequence[Logits], top_k: int
        ) -> list[Span]:
            while True:
                for _ in windows:
                    time.sleep(0.001)

    client = open_client(transport=InProcessTransport())
    with pytest.raises(DeadlineExceededError, match="itself worked on the text"):
        client.answer(QUESTION, SENTENCE * 200, decoder=Endless(), timeout=2.0)


def test_the_deadline_holds_for_a_tokenizer_that_takes_a_text_whole(open_client: Twins) -> None:
    """Nothing ends its work, which is left to itself."""
    let = threading.Event()

    class Stuck:
        def encode(self, text: str, **options: Any) -> Any:
            return tokenizer.encode(text, **options)

        def encode_batch(self, texts: Sequence[str], **options: Any) -> Any:
            let.wait()
            return tokenizer.encode_batch(texts, **options)

    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.pre_tokenizer = ByteLevel()
    used = QATokenizer(tokenizer)
    used._encoder._tokenizer = Stuck()
    client = open_client(transport=InProcessTransport(), tokenizer=used)
    try:
        with pytest.raises(DeadlineExceededError, match="itself worked on the text"):
            client.answer(QUESTION, LONG, timeout=0.3)
        assert client.answer(QUESTION, SENTENCE)
    finally:
        let.set()
    assert client.answer(QUESTION, LONG).text is not None


async def test_a_task_that_is_cancelled_ends_the_work_on_its_text(
    endless: list[BaseException],
) -> None:
    async with AsyncQAClient(transport=ThreadedTransport(InProcessTransport())) as client:
        await client.answer(QUESTION, SENTENCE)
        task = asyncio.create_task(client.answer(QUESTION, LONG, timeout=60.0))
        while not client._registry.get(None).tokenizer._encoder._kept._under_way:  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not endless:
            await asyncio.sleep(0.001)
    assert isinstance(endless[0], ClientStateError)


def test_a_stream_continues_beside_a_long_text(open_client: Twins) -> None:
    pairs = [(QUESTION, SENTENCE), (QUESTION, LONG), (QUESTION, SENTENCE)] * 3
    client = open_client(transport=InProcessTransport())
    expected = [client.answer(*pair) for pair in pairs[:2]]
    found = list(client.answer_many(pairs))
    assert [each.text for each in found] == [
        each.text for each in (expected[0], expected[1], expected[0]) * 3
    ]


@pytest.mark.parametrize(
    ("question", "context", "error"),
    [
        (QUESTION, SENTENCE * 20_000 + "\ud800", InvalidContextError),
        (QUESTION, " " * 1_000_000, InvalidContextError),
        (SENTENCE * 20_000 + "\udfff", SENTENCE, InvalidQuestionError),
    ],
)
def test_a_long_text_that_is_not_valid_is_refused_before_anything_is_sent(
    open_client: Twins, question: str, context: str, error: type[Exception]
) -> None:
    transport = InProcessTransport()
    client = open_client(transport=transport)
    with pytest.raises(error, match=r"surrogate|empty"):
        client.answer(question, context)
    (outcome,) = client.answer_many([(question, context)], return_errors=True)
    assert isinstance(outcome, error)
    assert not transport.described + transport.requests


def test_a_pace_ends_what_is_late_or_left() -> None:
    rested = threading.Event()
    pace = WorkPace(time.monotonic() + 60.0, 60.0, rested.set)
    while not rested.is_set():
        pace()
    pace.leave()
    with pytest.raises(ClientStateError):
        pace()
    with pytest.raises(DeadlineExceededError):
        WorkPace(time.monotonic() - 1.0, 1.0, rested.set)()
