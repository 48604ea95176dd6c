"""More than a server takes at once: every question waits its turn, and has one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from bertqa import AsyncQAClient, QAClient
from bertqa.artifact import Repository
from bertqa.errors import ModelNotFoundError, ModelNotReadyError, ServerUnreachableError
from bertqa_serve.selection import choose_engine
from tests.support.engines import toy_server
from tests.support.gates import GrpcGate
from tests.support.models import write_config
from tests.support.servers import AsProcess

QUESTION = "When was the bridge opened?"
CONTEXTS = [f"The bridge was opened in {1900 + year} after long work." for year in range(10)]
# Questions at once, and clients. Fewer are far more than there are threads too, and enough for the
# local engine.
SIZES = {"local": (250, 16), "ovms": (1000, 64)}
# Threads of a gRPC server of two cores with OVMS's own defaults.
THREADS = 16
PATIENCE = 550.0


@dataclass
class Busy:
    """A server that takes few calls at once, and how many questions and clients it gets."""

    grpc_url: str
    rest_url: str
    count: int
    most_clients: int

    def clients(self, number: str) -> int:
        return 1 if number == "one" else self.most_clients

    def address(self, scheme: str) -> dict[str, Any]:
        url = self.rest_url if scheme == "http" else self.grpc_url
        return {"url": url, "metadata_url": self.rest_url, "timeout": PATIENCE}


@pytest.fixture(scope="module")
def busy(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Busy]:
    """Toy versions on the local engine behind a quota; the demo's model on OVMS as it is."""
    root = tmp_path_factory.mktemp("plain")
    if engine == "local":
        with (
            toy_server(engine, root, 1, own_process=True) as server,
            GrpcGate(server.grpc_port, at_once=THREADS) as gate,
        ):
            yield Busy(f"127.0.0.1:{gate.port}", server.rest_url, *SIZES[engine])
        return
    demo_repository: Repository = request.getfixturevalue("demo_repository")
    (root / "bert-qa").symlink_to(demo_repository.root / "bert-qa")
    write_config(root)
    ports = ["--port", "{GRPC_PORT}", "--rest_port", "{REST_PORT}"]
    config = ["--config_path", str(root / "config.json")]
    process = AsProcess([str(choose_engine(engine).program)], [*ports, *config])
    try:
        grpc_url, rest_url = (
            f"127.0.0.1:{process.grpc_port}",
            f"http://127.0.0.1:{process.rest_port}",
        )
        found = Busy(grpc_url, rest_url, *SIZES[engine])
        wait_until_it_answers(found)
        yield found
    finally:
        process.close()


def wait_until_it_answers(server: Busy) -> None:
    give_up = time.monotonic() + 60
    with QAClient(**server.address("http")) as client:
        while True:
            try:
                client.answer(QUESTION, CONTEXTS[0])
                return
            except (ServerUnreachableError, ModelNotReadyError, ModelNotFoundError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)


@pytest.fixture(scope="module")
def expected(busy: Busy) -> list[str]:
    """What the contexts answer, asked one by one."""
    with QAClient(**busy.address("grpc")) as client:
        return [client.answer(QUESTION, context).text for context in CONTEXTS]


@pytest.mark.timeout(590)
@pytest.mark.parametrize("clients", ["one", pytest.param("many", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_many_threads_are_answered(
    busy: Busy, expected: list[str], scheme: str, clients: str
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(busy.count) as pool:
        opened = [
            stack.enter_context(QAClient(**busy.address(scheme)))
            for _ in range(busy.clients(clients))
        ]
        start = threading.Barrier(busy.count)

        def ask(number: int) -> str:
            start.wait()
            client = opened[number % len(opened)]
            return client.answer(QUESTION, CONTEXTS[number % len(CONTEXTS)]).text

        answers = list(pool.map(ask, range(busy.count)))
    assert answers == expected * (busy.count // len(CONTEXTS))


@pytest.mark.timeout(590)
@pytest.mark.parametrize("clients", ["one", "many"])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_many_tasks_are_answered(
    busy: Busy, expected: list[str], scheme: str, clients: str
) -> None:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(AsyncQAClient(**busy.address(scheme)))
            for _ in range(busy.clients(clients))
        ]
        answers = await asyncio.gather(
            *(
                opened[number % len(opened)].answer(QUESTION, CONTEXTS[number % len(CONTEXTS)])
                for number in range(busy.count)
            )
        )
    assert [answer.text for answer in answers] == expected * (busy.count // len(CONTEXTS))


@pytest.mark.timeout(590)
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_four_clients_of_one_server_get_their_shares(busy: Busy, scheme: str) -> None:
    counts = [0] * 4
    enough = threading.Event()
    lock = threading.Lock()

    def count(number: int) -> bool:
        with lock:
            counts[number] += 1
            if sum(counts) >= 4 * busy.count:
                enough.set()
        return enough.is_set()

    def ask(number: int, client: QAClient) -> None:
        while not count(number):
            client.answer(QUESTION, CONTEXTS[0])

    with ExitStack() as stack, ThreadPoolExecutor(4 * THREADS) as pool:
        opened = [stack.enter_context(QAClient(**busy.address(scheme))) for _ in range(4)]
        for client in opened:
            client.answer(QUESTION, CONTEXTS[0])
        asked = [
            pool.submit(ask, number, client)
            for _ in range(THREADS)
            for number, client in enumerate(opened)
        ]
        for each in asked:
            each.result()
    assert min(counts) >= 0.5 * sum(counts) / len(counts), counts
