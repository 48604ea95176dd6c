from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from bertqa import Answer, AsyncQAClient, _defaults
from bertqa.client._concurrency import ConcurrencyLimit
from bertqa.client._effects import RunInference
from bertqa.client._shared_batches import SharedBatches
from bertqa.client._turns import Sending
from bertqa.errors import DeadlineExceededError, ServerOverloadedError
from bertqa.qa import QATokenizer
from tests.support.held import HeldTransport
from tests.support.models import model_info, tokenizer_json

TOKENIZER = QATokenizer.from_json(tokenizer_json())
SLOTS = _defaults.REQUESTS_AT_FIRST
CONTEXT = "The bridge over the river was designed by Anna Berg, and opened in 1932."
QUESTIONS = [f"What is {word}?" for word in (CONTEXT + " " + CONTEXT.lower()).split()]
LONGER = (CONTEXT + " ") * 3


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def asked(
    client: AsyncQAClient, transport: HeldTransport, questions: list[str], context: str = CONTEXT
) -> list[asyncio.Task[Answer]]:
    """Ask while requests are held, and return when all wait."""
    transport.open.clear()
    tasks = [asyncio.create_task(client.answer(each, context)) for each in questions]
    await until(lambda: len(transport.sent) >= SLOTS)
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


@pytest.fixture
def transport() -> HeldTransport:
    return HeldTransport({1: model_info(), 2: model_info()})


def client_of(transport: HeldTransport, **options: object) -> AsyncQAClient:
    return AsyncQAClient(transport=transport, tokenizer=TOKENIZER, **options)  # type: ignore[arg-type]


async def test_questions_that_wait_go_out_together_and_are_answered_as_alone(
    transport: HeldTransport,
) -> None:
    async with client_of(transport) as client:
        alone = [await client.answer(each, CONTEXT) for each in QUESTIONS]
        transport.sent.clear()
        tasks = await asked(client, transport, QUESTIONS)
        # Those that found a slot are on their way alone; the others wait for one.
        assert [shape[0] for shape, _, _ in transport.sent] == [1] * SLOTS
        transport.open.set()
        assert await asyncio.gather(*tasks) == alone
    rows = [shape[0] for shape, _, _ in transport.sent]
    assert sum(rows) == len(QUESTIONS)
    assert len(rows) == SLOTS + 1
    assert rows[-1] == len(QUESTIONS) - SLOTS


async def test_a_batch_has_one_padded_length_one_version_and_no_more_than_the_budget(
    transport: HeldTransport,
) -> None:
    many = [f"{each} {number}" for number in range(4) for each in QUESTIONS]
    async with client_of(transport) as client:
        await client.answer(many[0], CONTEXT)
        tasks = await asked(client, transport, many)
        tasks += [asyncio.create_task(client.answer(each, LONGER)) for each in QUESTIONS[:3]]
        tasks += [
            asyncio.create_task(client.answer(each, CONTEXT, version=1)) for each in QUESTIONS[:3]
        ]
        await asyncio.sleep(0)
        transport.open.set()
        answers = await asyncio.gather(*tasks)
    assert [each.model_version for each in answers] == [2] * (len(many) + 3) + [1] * 3
    for (rows, tokens), _, _ in transport.sent:
        assert rows * tokens <= _defaults.TOKEN_BUDGET
    assert len(transport.sent) < len(many) / 4


async def test_headers_of_one_question_do_not_keep_it_from_sharing_and_others_do(
    transport: HeldTransport,
) -> None:
    async with client_of(transport) as client:
        await client.answer(QUESTIONS[0], CONTEXT)
        tasks = await asked(client, transport, QUESTIONS[:SLOTS])
        before = len(transport.sent)
        for number in range(6):
            headers = {"x-request-id": str(number), "x-user": "ab"[number % 2]}
            asking = client.with_options(headers=headers).answer(QUESTIONS[number], CONTEXT)
            tasks.append(asyncio.create_task(asking))
        await asyncio.sleep(0)
        transport.open.set()
        await asyncio.gather(*tasks)
    shared = transport.sent[before:]
    assert sorted((shape[0], sent["x-user"]) for shape, _, sent in shared) == [(3, "a"), (3, "b")]


async def test_a_question_that_is_given_up_is_not_sent(transport: HeldTransport) -> None:
    async with client_of(transport) as client:
        await client.answer(QUESTIONS[0], CONTEXT)
        tasks = await asked(client, transport, QUESTIONS[: SLOTS + 4])
        for task in tasks[SLOTS : SLOTS + 3]:
            task.cancel()
        await asyncio.gather(*tasks[SLOTS : SLOTS + 3], return_exceptions=True)
        before = len(transport.sent)
        transport.open.set()
        await asyncio.gather(*tasks[:SLOTS], tasks[-1])
    assert [shape[0] for shape, _, _ in transport.sent[before:]] == [1]


async def test_a_batch_that_nothing_waits_for_is_cancelled_and_frees_its_slot(
    transport: HeldTransport,
) -> None:
    async with client_of(transport) as client:
        await client.answer(QUESTIONS[0], CONTEXT)
        tasks = await asked(client, transport, QUESTIONS[: SLOTS + 3])
        tasks[0].cancel()
        await until(lambda: transport.sent[-1][0][0] == 3)
        for task in tasks[SLOTS : SLOTS + 2]:
            task.cancel()
        await asyncio.sleep(0)
        assert transport.cancelled == 1
        tasks[-1].cancel()
        await until(lambda: transport.cancelled == 2)
        transport.open.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert client._driver.limit.in_flight == client._driver.limit.waiting == 0
        assert (await client.answer(QUESTIONS[0], CONTEXT)).text


async def test_a_question_in_the_queue_has_its_own_deadline(transport: HeldTransport) -> None:
    async with client_of(transport) as client:
        await client.answer(QUESTIONS[0], CONTEXT)
        tasks = await asked(client, transport, QUESTIONS[:SLOTS])
        with pytest.raises(DeadlineExceededError):
            await client.answer(QUESTIONS[0], CONTEXT, timeout=0.05)
        transport.open.set()
        await asyncio.gather(*tasks)


async def test_a_batch_that_is_refused_is_tried_again_by_each_of_its_questions(
    transport: HeldTransport,
) -> None:
    async with client_of(transport) as client:
        alone = [await client.answer(each, CONTEXT) for each in QUESTIONS[: SLOTS + 3]]
        tasks = await asked(client, transport, QUESTIONS[: SLOTS + 3])
        transport.failing += [lambda: ServerOverloadedError("It is full.")] * (SLOTS + 1)
        transport.open.set()
        assert await asyncio.gather(*tasks) == alone


async def test_a_refusal_is_raised_where_nothing_is_tried_again(transport: HeldTransport) -> None:
    async with client_of(transport, retry_overload=False) as client:
        await client.answer(QUESTIONS[0], CONTEXT)
        tasks = await asked(client, transport, QUESTIONS[: SLOTS + 3])
        transport.failing += [lambda: ServerOverloadedError("It is full.")] * (SLOTS + 1)
        transport.open.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, ServerOverloadedError) for each in outcomes)


async def test_a_call_for_a_slot_that_was_let_go_sends_nothing_on_the_next_one() -> None:
    limit = ConcurrencyLimit(1, 1)
    sent = []

    async def send(sending: Sending, timeout: float) -> ServerOverloadedError:
        sent.append(limit.in_flight)
        sending.hold.release()
        return ServerOverloadedError("It is full.")

    shared = SharedBatches(limit, send)

    async def ask() -> object:
        windows = TOKENIZER.windows(QUESTIONS[0], CONTEXT)
        return await shared.run(RunInference([windows[0]], None), time.monotonic() + 60, 60)

    held = limit.request(lambda: None)
    first = asyncio.create_task(ask())
    await until(lambda: limit.waiting == 1)
    other = limit.request(lambda: None)
    # The first is given up as its slot is granted; the next one comes before the slot's call.
    first.cancel()
    following = asyncio.create_task(ask())
    limit.release(held)
    for _ in range(5):
        await asyncio.sleep(0)
    assert first.cancelled()
    assert other.is_held
    assert not sent
    limit.release(other)
    assert isinstance(await following, ServerOverloadedError)
    assert sent == [1]
