"""What only the asynchronous client does; the rest is in test_client.py, for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bertqa import AsyncQAClient
from bertqa.client._local import ThreadedTransport
from bertqa.transport import InferResult, Inputs
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport

CONTEXT = "The Normans were the people who gave their name to Normandy. "


async def test_pairs_may_come_from_an_asynchronous_source(server: Served) -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        for number in range(40):
            await asyncio.sleep(0)
            yield "Who?", CONTEXT * (1 + number % 3)

    async with AsyncQAClient(**server.address()) as client:
        streamed = [answer async for answer in client.answer_many(source(), look_ahead=8)]
        answering = [client.answer("Who?", CONTEXT * (1 + number % 3)) for number in range(40)]
        assert streamed == await asyncio.gather(*answering)


async def test_an_answer_that_is_cancelled_leaves_the_client_usable() -> None:
    started = asyncio.Event()

    class Hanging(ThreadedTransport):
        hangs = True

        async def infer(
            self, inputs: Inputs, *, version: int | None, timeout: float
        ) -> InferResult:
            if self.hangs:
                started.set()
                await asyncio.Event().wait()
            return await super().infer(inputs, version=version, timeout=timeout)

    transport = Hanging(InProcessTransport())
    async with AsyncQAClient(transport=transport) as client:
        tasks = [asyncio.create_task(client.answer("Who?", CONTEXT)) for _ in range(40)]
        await started.wait()
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in done)
        transport.hangs = False
        assert (await client.answer("Who?", CONTEXT)).text


async def test_a_stream_that_is_left_early_cancels_what_is_on_its_way(server: Served) -> None:
    async with AsyncQAClient(**server.address()) as client:
        answers = client.answer_many([("Who?", CONTEXT)] * 500, look_ahead=8)
        assert (await anext(answers)).text
        await answers.aclose()  # type: ignore[attr-defined]
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 60)
        assert (await client.answer("Who?", CONTEXT)).text


@pytest.mark.parametrize("length", [1, 400])
async def test_the_event_loop_stays_free_while_the_server_works(
    server: Served, length: int
) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with AsyncQAClient(**server.address()) as client:
        ticking = asyncio.create_task(tick())
        await client.answer("Who?", CONTEXT * length)
        ticking.cancel()
    assert ticks > 3
