"""A server that goes away under eight clients: no question fails whose deadline has not passed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from bertqa import Answer, AsyncQAClient
from tests.support.clients import eight_clients
from tests.support.engines import Served, toy_server
from tests.support.load import CONTEXT, QUESTION, asking, right_answers

# OVMS waits up to a minute for a port that clients were connected to.
PATIENCE = 200.0


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("restarted") / "model_repository"
    with toy_server(engine, root, 1, own_process=True) as server:
        yield server


def end(server: Served) -> None:
    server.stop()
    server.start()


def kill(server: Served) -> None:
    server.kill()
    server.start()


def hang(server: Served) -> None:
    server.send(signal.SIGSTOP)
    try:
        # The process is not asked any more: whoever connects now is not answered.
        with pytest.raises(TimeoutError):
            asyncio.run(_no_answer(server))
    finally:
        server.send(signal.SIGCONT)


async def _no_answer(server: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.rest_port)
    writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
    try:
        async with asyncio.timeout(3):
            await reader.read(1)
    finally:
        writer.close()


disturbances = pytest.mark.parametrize("disturb", [end, kill, hang])


@disturbances
def test_threads_lose_no_question(server: Served, disturb: Callable[[Served], None]) -> None:
    with (
        eight_clients(server.grpc_url, server.rest_url, timeout=PATIENCE) as clients,
        asking(clients) as load,
    ):
        disturb(server)
        assert load.observe(patience=PATIENCE) == ({1}, {1})


@disturbances
async def test_tasks_lose_no_question(server: Served, disturb: Callable[[Served], None]) -> None:
    ended = asyncio.Event()
    answers: list[Answer] = []

    async def ask(client: AsyncQAClient) -> None:
        while not ended.is_set():
            answers.append(await client.answer(QUESTION, CONTEXT))

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncQAClient(url, metadata_url=server.rest_url, timeout=PATIENCE)
            )
            for url in [server.grpc_url, server.rest_url] * 4
        ]
        # A client waits for a server that it has met.
        answers += [await client.answer(QUESTION, CONTEXT) for client in clients]
        tasks = [asyncio.create_task(ask(client)) for client in clients]
        await asyncio.to_thread(disturb, server)
        before = len(answers)
        while len(answers) < before + 50 and not any(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=0.05)
        ended.set()
        await asyncio.gather(*tasks)
    assert set(answers) == {right_answers()[1]}
