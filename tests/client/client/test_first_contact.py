"""What a version is, is fetched and decoded once, however many wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bertqa import AsyncQAClient, BertQAError, QAClient, QATokenizer
from bertqa.errors import (
    DeadlineExceededError,
    ModelNotFoundError,
    ServerOverloadedError,
    ServerUnreachableError,
)
from bertqa.transport import ModelMetadata
from tests.support.in_process import InProcessTransport
from tests.support.questions import CONTEXT, QUESTION

WAITERS = 40


class Slow(InProcessTransport):
    """Describes the model when it is let, after the errors that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.errors: list[BertQAError] = []

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        described = super().metadata(version=version, timeout=timeout)
        if not self.let.wait(timeout):
            raise DeadlineExceededError("There was no answer in time.")
        if self.errors:
            raise self.errors.pop()
        return described


class AsyncSlow(InProcessTransport):
    """The same for tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.errors: list[BertQAError] = []
        self.cancelled = 0

    async def infer(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        return super().infer(*arguments, **options)

    async def metadata(self, *, version: int | None, timeout: float) -> Any:  # type: ignore[override]
        described = super().metadata(version=version, timeout=timeout)
        try:
            async with asyncio.timeout(timeout):
                await self.let.wait()
        except TimeoutError as error:
            raise DeadlineExceededError("There was no answer in time.") from error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.errors:
            raise self.errors.pop()
        return described

    async def close(self) -> None:  # type: ignore[override]
        self.closed = True


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokenizers that were decoded."""
    found: list[str] = []
    decode = QATokenizer.from_json

    def counted(text: str) -> QATokenizer:
        found.append(text)
        return decode(text)

    monkeypatch.setattr(QATokenizer, "from_json", counted)
    return found


def waiting(client: QAClient | AsyncQAClient) -> int:
    return sum(len(each._waiting) for each in client._registry.flights.under_way.values())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WAITERS) as opened:
        yield opened


def test_threads_that_wait_for_a_model_fetch_and_decode_it_once(
    decoded: list[str], pool: ThreadPoolExecutor
) -> None:
    transport = Slow()
    with QAClient(transport=transport) as client:
        answers = [pool.submit(client.answer, QUESTION, CONTEXT) for _ in range(WAITERS)]
        asyncio.run(until(lambda: waiting(client) == WAITERS - 1))
        assert client._driver.limit.in_flight == 1
        transport.let.set()
        assert len({each.result() for each in answers}) == 1
    # The default version, and then the version that answered, which is known by its number.
    assert transport.described == [None]
    assert len(decoded) == 1


async def test_tasks_and_streams_that_wait_for_a_model_fetch_and_decode_it_once(
    decoded: list[str],
) -> None:
    transport = AsyncSlow()
    async with AsyncQAClient(transport=transport) as client:

        async def stream() -> set[object]:
            return {each async for each in client.answer_many([(QUESTION, CONTEXT)] * 500)}

        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(WAITERS)]
        streams = [asyncio.create_task(stream()) for _ in range(3)]
        await until(lambda: waiting(client) == WAITERS + 2)
        transport.let.set()
        answers = set(await asyncio.gather(*tasks))
        assert [answers] * 3 == await asyncio.gather(*streams)
    assert transport.described == [None]
    assert len(decoded) == 1


@pytest.mark.parametrize("error", [ModelNotFoundError("No model."), ServerUnreachableError("Gone")])
async def test_a_fetch_that_fails_fails_for_all_and_is_not_kept(error: BertQAError) -> None:
    transport = AsyncSlow()
    transport.errors = [error]
    async with AsyncQAClient(transport=transport) as client:
        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(WAITERS)]
        await until(lambda: waiting(client) == WAITERS - 1)
        transport.let.set()
        raised = await asyncio.gather(*tasks, return_exceptions=True)
        assert {(type(each), str(each)) for each in raised} == {(type(error), str(error))}
        assert len({id(each) for each in raised}) == WAITERS
        assert transport.described == [None]
        assert (await client.answer(QUESTION, CONTEXT)).text
        assert transport.described == [None, None]


async def test_a_refused_fetch_is_sent_again_by_one() -> None:
    transport = AsyncSlow()
    transport.errors = [ServerOverloadedError("No room.")] * 3
    async with AsyncQAClient(transport=transport) as client:
        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(WAITERS)]
        await until(lambda: waiting(client) == WAITERS - 1)
        transport.let.set()
        assert len(set(await asyncio.gather(*tasks))) == 1
    assert transport.described == [None] * 4


async def test_each_task_that_waits_for_a_fetch_has_its_own_deadline() -> None:
    transport = AsyncSlow()
    async with AsyncQAClient(transport=transport) as client:
        first = asyncio.create_task(client.answer(QUESTION, CONTEXT, timeout=60.0))
        await until(lambda: bool(transport.described))
        with pytest.raises(DeadlineExceededError, match=r"within 0\.1 s"):
            await client.answer(QUESTION, CONTEXT, timeout=0.1)
        assert not first.done()
        transport.let.set()
        assert (await first).text
    assert transport.described == [None]


def test_each_thread_that_waits_for_a_fetch_has_its_own_deadline(pool: ThreadPoolExecutor) -> None:
    transport = Slow()
    with QAClient(transport=transport) as client:
        first = pool.submit(client.answer, QUESTION, CONTEXT, timeout=60.0)
        asyncio.run(until(lambda: bool(transport.described)))
        with pytest.raises(DeadlineExceededError, match=r"within 0\.1 s"):
            client.answer(QUESTION, CONTEXT, timeout=0.1)
        transport.let.set()
        assert first.result().text
    assert transport.described == [None]


async def test_a_fetch_whose_question_ran_out_of_time_is_made_again_for_the_others() -> None:
    transport = AsyncSlow()
    async with AsyncQAClient(transport=transport) as client:
        hasty = asyncio.create_task(client.answer(QUESTION, CONTEXT, timeout=0.1))
        await until(lambda: bool(transport.described))
        patient = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(WAITERS)]
        with pytest.raises(DeadlineExceededError):
            await hasty
        await until(lambda: waiting(client) == WAITERS - 1)
        transport.let.set()
        assert len(set(await asyncio.gather(*patient))) == 1
    assert transport.described == [None, None]


async def test_a_task_that_is_cancelled_does_not_cancel_the_fetch_of_others(
    decoded: list[str],
) -> None:
    transport = AsyncSlow()
    async with AsyncQAClient(transport=transport) as client:
        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(3)]
        await until(lambda: waiting(client) == 2)
        for task in tasks[:2]:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert client._driver.limit.in_flight == 1
        transport.let.set()
        assert (await tasks[2]).text
    assert (transport.described, transport.cancelled, len(decoded)) == ([None], 0, 1)


async def test_a_fetch_that_nothing_waits_for_is_cancelled() -> None:
    transport = AsyncSlow()
    async with AsyncQAClient(transport=transport) as client:
        tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(3)]
        await until(lambda: waiting(client) == 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await until(lambda: transport.cancelled == 1)
        assert (client._driver.limit.in_flight, client._driver.limit.waiting) == (0, 0)
        assert not client._registry.flights.under_way
        transport.let.set()
        assert (await client.answer(QUESTION, CONTEXT)).text


async def test_a_client_that_is_closed_ends_the_fetch_that_was_left_to_others() -> None:
    transport = AsyncSlow()
    client = AsyncQAClient(transport=transport)
    tasks = [asyncio.create_task(client.answer(QUESTION, CONTEXT)) for _ in range(2)]
    await until(lambda: waiting(client) == 1)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    await client.close()
    with pytest.raises(BertQAError, match="closed"):
        await tasks[1]


def test_a_stream_that_is_left_keeps_no_fetch_from_others(pool: ThreadPoolExecutor) -> None:
    """A stream fetches what a new version is while its reader does something else."""
    transport = Slow()
    transport.let.set()
    with QAClient(transport=transport) as client:
        stream = client.answer_many([(QUESTION, CONTEXT)] * 400, look_ahead=2)
        next(stream)
        client._registry.forget()
        transport.let.clear()
        transport.described.clear()
        other = pool.submit(client.answer, QUESTION, CONTEXT)
        asyncio.run(until(lambda: bool(transport.described)))
        transport.let.set()
        assert other.result().text
        assert sum(1 for _ in stream) == 399


@pytest.mark.parametrize("_", range(5))
def test_a_closed_stream_does_not_end_the_fetch_of_others(_: int, pool: ThreadPoolExecutor) -> None:
    transport = Slow()
    with QAClient(transport=transport, version=1) as client:
        # Two versions at once: the stream itself has something else to do.
        left = client.answer_many(((QUESTION, CONTEXT) for _ in range(50)), look_ahead=1)
        reading = pool.submit(next, left)
        asyncio.run(until(lambda: bool(transport.described)))
        other = pool.submit(client.answer, QUESTION, CONTEXT)
        asyncio.run(until(lambda: waiting(client) == 1))
        transport.let.set()
        assert reading.result() == other.result()
        left.close()  # type: ignore[attr-defined]
    assert transport.described == [1]
