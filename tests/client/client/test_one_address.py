"""Two servers behind one address, each with another version: no question fails for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bertqa import Answer, AsyncQAClient, BertQAError, QAClient, _defaults
from bertqa._progress import Progress
from bertqa.artifact import ModelInfo
from bertqa.client._router import WeightedRouter
from bertqa.errors import ClientStateError, VersionNotFoundError
from bertqa.transport import AdminClient, rest_address, served_versions, warm_up
from tests.support.balancer import KINDS, Balancer, balancing
from tests.support.engines import Served
from tests.support.models import model_info, write_config, write_toy_version
from tests.support.twins import Twins

QUESTION = "When was the bridge opened?"
CONTEXT = "The bridge was opened in 1932 after four years of work."
WEIGHTS = [(90, 10), (50, 50), (10, 90), (0, 100), (100, 0)]
PAIR = (QUESTION, CONTEXT)


def infos() -> dict[int, ModelInfo]:
    """Two versions that take other windows, so that an answer needs what its version reports."""
    return {1: model_info(max_seq_len=384), 2: model_info(max_seq_len=64, doc_stride=16)}


@pytest.fixture(scope="module")
def servers(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    with ExitStack() as stack:
        found = []
        for version, info in infos().items():
            repository = tmp_path_factory.mktemp("repository")
            write_toy_version(repository, version, info=info)
            write_config(repository)
            found.append(stack.enter_context(Served(engine, repository)))
        yield found


@pytest.fixture
def right(servers: list[Served]) -> dict[int, Answer]:
    """What each version answers, asked by itself."""
    found = {}
    for version, server in enumerate(servers, 1):
        with QAClient(**server.address("http")) as client:
            found[version] = client.answer(*PAIR)
    return found


@pytest.fixture(
    params=[KINDS[0], *(pytest.param(kind, marks=pytest.mark.thorough) for kind in KINDS[1:])]
)
def balancer(request: pytest.FixtureRequest, servers: list[Served]) -> Iterator[Balancer]:
    with balancing(servers, request.param) as balancer:
        yield balancer


def address(balancer: Balancer, scheme: str) -> dict[str, Any]:
    balancer.servers[0].port(scheme)
    return {"url": balancer.url(scheme), "metadata_url": balancer.url("http")}


# The TensorFlow Serving API goes over the connections that `http` has too.
schemes = pytest.mark.parametrize(
    "scheme", ["grpc", "http", pytest.param("tfs", marks=pytest.mark.thorough)]
)


def test_eight_clients_fail_no_question_while_the_weights_change(
    balancer: Balancer, right: dict[int, Answer]
) -> None:
    ended = threading.Event()
    answers: list[Answer] = []

    def ask(scheme: str, streams: bool) -> None:
        while not ended.is_set():
            # A client that is new knows no version, as each one does at first.
            with QAClient(**address(balancer, scheme)) as client:
                if streams:
                    answers.extend(client.answer_many([PAIR] * 8, look_ahead=2))
                answers.extend(client.answer(*PAIR) for _ in range(8))

    async def ask_in_tasks(scheme: str, streams: bool) -> None:
        while not ended.is_set():
            async with AsyncQAClient(**address(balancer, scheme)) as client:
                if streams:
                    many = client.answer_many([PAIR] * 8, look_ahead=2)
                    answers.extend([answer async for answer in many])
                answers.extend([await client.answer(*PAIR) for _ in range(8)])

    async def ask_in_one_loop() -> None:
        kinds = [(scheme, streams) for scheme in ("grpc", "http") for streams in (False, True)]
        await asyncio.gather(*(ask_in_tasks(*kind) for kind in kinds))

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(asyncio.run, ask_in_one_loop())]
        for scheme in ("grpc", "http"):
            running += [pool.submit(ask, scheme, streams) for streams in (False, True)]
        try:
            for weights in WEIGHTS:
                balancer.weights[:] = weights
                before = len(answers)
                while len(answers) < before + 60 and not any(each.done() for each in running):
                    time.sleep(0.01)
        finally:
            ended.set()
        for each in running:
            each.result()
    assert {answer.model_version for answer in answers} == {1, 2}
    assert all(answer == right[answer.model_version] for answer in answers)


@schemes
def test_a_version_is_found_by_its_number_whichever_server_has_it(
    open_client: Twins, balancer: Balancer, right: dict[int, Answer], scheme: str
) -> None:
    balancer.weights[:] = (80, 20)
    for _ in range(3):
        client = open_client(**address(balancer, scheme))
        for version in (2, 1, 2, 1):
            assert client.answer(*PAIR, version=version) == right[version]
        many = list(client.answer_many([PAIR] * 6, version=2, look_ahead=1))
        assert many == [right[2]] * 6


@schemes
def test_a_split_of_the_clients_own_reaches_both_versions(
    open_client: Twins, balancer: Balancer, right: dict[int, Answer], scheme: str
) -> None:
    client = open_client(**address(balancer, scheme), traffic={1: 50, 2: 50})
    answers = list(client.answer_many([PAIR] * 40, look_ahead=4))
    assert {answer.model_version for answer in answers} == {1, 2}
    assert all(answer == right[answer.model_version] for answer in answers)


@schemes
def test_a_split_that_is_followed_is_kept_behind_one_address(
    open_client: Twins,
    balancer: Balancer,
    right: dict[int, Answer],
    scheme: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    split = tmp_path / "split"
    split.write_text("1=50,2=50", encoding="utf-8")
    client = open_client(**address(balancer, scheme), traffic=split)
    with caplog.at_level(logging.WARNING, "bertqa"):
        for number in range(12):
            key = f"user-{number}"
            chosen = WeightedRouter({1: 50, 2: 50}).pick(key)
            assert client.answer(*PAIR, key=key) == right[chosen]
    ours = [record for record in caplog.records if record.name.startswith("bertqa")]
    assert not ours, "no question fell back to the default version"


@schemes
def test_a_connection_that_led_to_a_version_is_kept_for_it(
    open_client: Twins, servers: list[Served], scheme: str
) -> None:
    with balancing(servers, "connections at random") as balancer:
        client = open_client(**address(balancer, scheme))
        for version in (1, 2, 1, 2):
            client.answer(*PAIR, version=version)
        before = sum(balancer.chosen)
        for version in (1, 2) * 10:
            client.answer(*PAIR, version=version)
        assert sum(balancer.chosen) == before


@schemes
def test_a_shadow_is_found_too(open_client: Twins, balancer: Balancer, scheme: str) -> None:
    seen: list[tuple[Answer, Answer | BertQAError]] = []
    client = open_client(
        **address(balancer, scheme),
        version=1,
        shadow=2,
        on_shadow=lambda *both: seen.append(both),
    )
    for _ in range(5):
        client.answer(*PAIR)
    client.close()
    assert [isinstance(shadow, Answer) and shadow.model_version for _, shadow in seen] == [2] * 5


@schemes
def test_a_version_that_no_server_has_is_given_up(
    open_client: Twins, servers: list[Served], scheme: str
) -> None:
    with balancing(servers, "connections in turn") as balancer:
        client = open_client(**address(balancer, scheme))
        client.answer(*PAIR)
        counts = []
        for _ in range(2):
            before = sum(balancer.chosen)
            with pytest.raises(VersionNotFoundError, match="version 99"):
                client.answer(*PAIR, version=99, timeout=600)
            counts.append(sum(balancer.chosen) - before)
        assert counts[0] >= 100
        assert counts[1] < 10, "what was missed a moment ago is not looked for as long again"
        with pytest.raises(VersionNotFoundError, match="version 98"):
            client.answer(*PAIR, version=98, timeout=0.2)


def test_closing_ends_a_search(servers: list[Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_defaults, "SEARCHES", 1_000_000)
    with balancing(servers, "connections in turn") as balancer:
        client = QAClient(**address(balancer, "grpc"), timeout=600)
        client.answer(*PAIR)
        with ThreadPoolExecutor() as pool:
            before = sum(balancer.chosen)
            searching = pool.submit(client.answer, *PAIR, version=99)
            while sum(balancer.chosen) < before + 6:
                time.sleep(0.01)
            client.close()
            assert isinstance(searching.exception(60), ClientStateError)


def test_a_kept_connection_to_a_server_that_no_new_one_reaches_is_left(
    open_client: Twins,
    servers: list[Served],
    right: dict[int, Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a Service whose selector has changed under a client."""
    with balancing(servers, "connections in turn") as balancer:
        balancer.lead(1)
        monkeypatch.setattr(_defaults, "SEARCHES", 10)
        client = open_client(balancer.url("grpc"), metadata_url=servers[0].rest_url)
        assert client.answer(*PAIR) == right[1]
        assert balancer.chosen == [1, 1]


def test_a_warm_up_finds_the_versions(balancer: Balancer) -> None:
    with AdminClient(rest_address(balancer.url("http"))) as admin:
        seen: list[Progress] = []
        warm_up(admin, "bert-qa", [1, 2], on_progress=seen.append)
    expected = [(1, length) for length in range(32, 385, 32)] + [(2, 32), (2, 64)]
    assert [each.note for each in seen] == [f"version {v}, {n} tokens" for v, n in expected]


def test_the_versions_are_listed(balancer: Balancer) -> None:
    for _ in range(10):
        for each in served_versions(balancer.url("grpc"), metadata_url=balancer.url("http")):
            assert (each.version, each.state) in ((1, "AVAILABLE"), (2, "AVAILABLE"))
            assert each.precision == "fp32"
