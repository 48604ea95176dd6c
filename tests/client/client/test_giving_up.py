"""A caller that gives up holds nothing any more: no slot of the client, no call on the wire."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from bertqa import AsyncQAClient, QAClient, QATokenizer
from bertqa.client._concurrency import ConcurrencyLimit
from bertqa.errors import DeadlineExceededError, ServerOverloadedError
from tests.support.engines import Served
from tests.support.gates import GrpcGate
from tests.support.in_process import InProcessTransport
from tests.support.models import tokenizer_json
from tests.support.twins import Twins

QUESTION = "Who gave their name to Normandy?"
CONTEXT = "The Normans were the people who gave their name to Normandy, a region of France. "
TOKENIZER = QATokenizer.from_json(tokenizer_json())
# Its windows fill several requests.
LONG_CONTEXT = CONTEXT * 200


@pytest.fixture
def gate(local_server: Served) -> Iterator[GrpcGate]:
    with GrpcGate(local_server.grpc_port) as opened:
        yield opened


def slots(client: QAClient | AsyncQAClient) -> tuple[int, int]:
    """How many are held, and how many are waited for."""
    limit = client._driver.limit
    return limit.in_flight, limit.waiting


def address(gate: GrpcGate) -> dict[str, Any]:
    return {"url": f"localhost:{gate.port}", "tokenizer": TOKENIZER, "timeout": 60.0}


def passed() -> threading.Event:
    """An obstacle that is out of the way."""
    event = threading.Event()
    event.set()
    return event


async def opened(gate: GrpcGate, most: int = 64) -> AsyncQAClient:
    """A client that has met the server, with so many slots."""
    client = AsyncQAClient(**address(gate))
    await client.answer(QUESTION, CONTEXT)
    await in_a_thread(gate, 0)
    client._driver.limit = client._driver._shared._limit = ConcurrencyLimit(min(most, 4), most)
    return client


async def in_a_thread(gate: GrpcGate, under_way: int) -> None:
    await asyncio.to_thread(gate.wait_until, under_way)


@pytest.mark.parametrize("context", [CONTEXT, LONG_CONTEXT])
async def test_a_task_that_is_cancelled_frees_its_slots_and_its_calls(
    gate: GrpcGate, context: str
) -> None:
    async with await opened(gate) as client:
        gate.obstacles = [threading.Event() for _ in range(8)]
        task = asyncio.create_task(client.answer(QUESTION, context))
        await in_a_thread(gate, 1 if context is CONTEXT else 4)
        assert slots(client)[0] >= 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert slots(client) == (0, 0)
        await in_a_thread(gate, 0)
        gate.obstacles = []
        assert (await client.answer(QUESTION, CONTEXT)).text


async def test_a_timeout_around_an_answer_frees_its_slot(gate: GrpcGate) -> None:
    async with await opened(gate) as client:
        gate.obstacles = [threading.Event()]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.answer(QUESTION, CONTEXT)
        assert slots(client) == (0, 0)
        await in_a_thread(gate, 0)


async def test_a_task_that_waits_for_a_slot_is_passed_over_when_it_is_cancelled(
    gate: GrpcGate,
) -> None:
    async with await opened(gate, most=1) as client:
        held = threading.Event()
        gate.obstacles = [held]
        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(3)]
        await in_a_thread(gate, 1)
        # The two that wait share the request to come.
        async with asyncio.timeout(20):
            while slots(client) != (1, 1):
                await asyncio.sleep(0.01)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        assert slots(client) == (1, 1)
        held.set()
        first, _, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert first == third
        assert slots(client) == (0, 0)


async def test_a_pause_holds_no_slot_and_can_be_cancelled(gate: GrpcGate) -> None:
    async with await opened(gate) as client:
        gate.obstacles = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 500
        task = asyncio.create_task(client.answer(QUESTION, CONTEXT))
        gate.calls.clear()
        while len(gate.calls) < 4 or slots(client) != (0, 0):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert slots(client) == (0, 0)


async def test_an_asynchronous_stream_that_is_closed_early_frees_slots_and_calls(
    gate: GrpcGate,
) -> None:
    async with await opened(gate) as client:
        answers = client.answer_many([(QUESTION, CONTEXT)] * 500, look_ahead=8)
        await anext(answers)
        gate.obstacles = [threading.Event() for _ in range(8)]
        pending = asyncio.ensure_future(anext(answers))
        while not gate.calls or gate.obstacles == []:
            await asyncio.sleep(0.01)
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await answers.aclose()  # type: ignore[attr-defined]
        assert slots(client) == (0, 0)
        await in_a_thread(gate, 0)


def test_a_generator_that_is_closed_early_frees_slots_and_calls(gate: GrpcGate) -> None:
    with QAClient(**address(gate)) as client:
        client.answer(QUESTION, CONTEXT)
        # The first request goes out alone, so that it is the one that passes.
        client._driver.limit = ConcurrencyLimit(1, 8)
        gate.obstacles = [passed(), *(threading.Event() for _ in range(8))]
        answers = client.answer_many([(QUESTION, CONTEXT)] * 100, look_ahead=2)
        next(answers)
        assert slots(client)[0] >= 1
        gate.wait_until(slots(client)[0])
        answers.close()  # type: ignore[attr-defined]
        assert slots(client) == (0, 0)
        gate.wait_until(0)
        gate.obstacles = []
        assert client.answer(QUESTION, CONTEXT).text


def test_a_generator_that_is_closed_while_requests_pause_holds_nothing(gate: GrpcGate) -> None:
    with QAClient(**address(gate)) as client:
        client.answer(QUESTION, CONTEXT)
        # The first request goes out alone, so that it is the one that passes.
        client._driver.limit = ConcurrencyLimit(1, 8)
        gate.obstacles = [passed(), *[grpc.StatusCode.RESOURCE_EXHAUSTED] * 500]
        answers = client.answer_many([(QUESTION, CONTEXT)] * 100, look_ahead=2)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert slots(client) == (0, 0)


def test_a_thread_that_waited_for_a_slot_in_vain_is_passed_over(gate: GrpcGate) -> None:
    with QAClient(**address(gate)) as client:
        client.answer(QUESTION, CONTEXT)
        gate.wait_until(0)
        client._driver.limit = ConcurrencyLimit(1, 1)
        held = threading.Event()
        gate.obstacles = [held]
        first = threading.Thread(target=client.answer, args=(QUESTION, CONTEXT))
        first.start()
        gate.wait_until(1)
        with pytest.raises(DeadlineExceededError, match="too many questions are in flight"):
            client.answer(QUESTION, CONTEXT, timeout=0.2)
        assert slots(client) == (1, 0)
        held.set()
        first.join()
        assert slots(client) == (0, 0)


def test_a_stream_that_is_left_for_a_while_keeps_no_slot_from_others(open_client: Twins) -> None:
    """The loop's body asks the same client, which has one slot."""
    client = open_client(transport=InProcessTransport(), timeout=60.0)
    itself = getattr(client, "_client", client)
    itself._driver.limit = ConcurrencyLimit(1, 1)
    expected = client.answer(QUESTION, CONTEXT)
    for streamed in client.answer_many([(QUESTION, CONTEXT)] * 40, look_ahead=2):
        assert streamed == expected
        assert client.answer(QUESTION, CONTEXT) == expected
    assert slots(itself) == (0, 0)


def test_a_refusal_halves_what_all_questions_of_a_client_share(
    open_client: Twins, gate: GrpcGate
) -> None:
    client = open_client(**address(gate))
    itself = getattr(client, "_client", client)
    client.answer(QUESTION, CONTEXT)
    before = itself._driver.limit.limit
    gate.obstacles = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 50
    with pytest.raises(ServerOverloadedError):
        client.answer(QUESTION, CONTEXT, timeout=0.3)
    assert itself._driver.limit.limit <= before / 2
    while itself._driver.limit.limit > 1:
        with pytest.raises(ServerOverloadedError):
            client.answer(QUESTION, CONTEXT, timeout=0.3)
    gate.obstacles = []
    list(client.answer_many([(QUESTION, CONTEXT)] * 20))
    assert itself._driver.limit.limit > 1
    assert slots(itself) == (0, 0)
