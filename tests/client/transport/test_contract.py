"""What every transport does, against every engine over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from bertqa import AsyncQAClient, QAClient, _defaults
from bertqa.errors import (
    ModelNotFoundError,
    NotAQAModelError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport import Security, open_transport
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, tokenizer_json, write_config, write_toy_version
from tests.support.ports import free_port
from tests.support.questions import CONTEXT, QUESTION
from tests.support.twins import Twins

PAIRS = [(QUESTION, CONTEXT[number % 40 :] * (1 + number % 5)) for number in range(60)]
PATIENT = 120.0

SCHEMES = ["grpc", "dns", "http", "tfs"]


@pytest.fixture(autouse=True)
def a_version_is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One server is asked, so that no other connection leads to a version that it lacks."""
    monkeypatch.setattr(_defaults, "SEARCHES", 10)


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_answers_are_those_of_the_model_itself(
    open_client: Twins, server: Served, scheme: str
) -> None:
    client = open_client(**server.address(scheme), timeout=PATIENT)
    itself = open_client(
        transport=InProcessTransport({1: model_info(), 2: model_info()}), timeout=PATIENT
    )
    for version in (None, 1):
        assert client.answers(QUESTION, CONTEXT, version=version) == itself.answers(
            QUESTION, CONTEXT, version=version
        )
    assert list(client.answer_many(PAIRS)) == list(itself.answer_many(PAIRS))


def test_what_is_not_there_is_named(open_client: Twins, server: Served, scheme: str) -> None:
    address = server.address(scheme)
    with pytest.raises(VersionNotFoundError, match=r"version 9 of .*are served: 1, 2"):
        open_client(**address).answer(QUESTION, CONTEXT, version=9)
    with pytest.raises(ModelNotFoundError, match="'nope'"):
        open_client(**address, model="nope").answer(QUESTION, CONTEXT)


def test_metadata_has_the_signature_without_rest(server: Served, scheme: str) -> None:
    transport = open_transport(
        server.address(scheme)["url"],
        {"model": "bert-qa", "metadata_url": None, "learns": False, "security": Security()},
    )
    metadata = transport.metadata(version=2, timeout=PATIENT)
    transport.close()
    assert metadata.name == "bert-qa"
    assert 2 in metadata.versions
    assert set(metadata.inputs.values()) == {"INT64"}
    assert metadata.outputs == {"start_logits": "FP32", "end_logits": "FP32"}
    assert bool(metadata.rt_info) == (scheme == "http")


def test_a_server_that_is_not_there_is_named(open_client: Twins, scheme: str) -> None:
    url = {"grpc": "localhost:{}", "dns": "dns:///localhost:{}"}.get(
        scheme, scheme + "://localhost:{}"
    )
    client = open_client(url.format(free_port()), metadata_url=f"http://localhost:{free_port()}")
    with pytest.raises(ServerUnreachableError, match=r"Cannot connect to http://localhost:\d+"):
        client.answer(QUESTION, CONTEXT)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_toy_version(tmp_path, 1)
    write_config(tmp_path)
    return tmp_path


def test_a_version_that_appears_is_noticed(
    open_client: Twins, engine: str, repository: Path, scheme: str
) -> None:
    with Served(engine, repository) as server:
        client = open_client(**server.address(scheme), timeout=PATIENT)
        assert client.answer(QUESTION, CONTEXT).model_version == 1
        write_toy_version(repository, 2)
        server.reload()
        assert client.answer(QUESTION, CONTEXT).model_version == 2


def test_a_version_that_is_gone_falls_back_only_if_that_is_allowed(
    open_client: Twins, engine: str, repository: Path, scheme: str
) -> None:
    write_toy_version(repository, 2)
    with Served(engine, repository) as server:
        address = server.address(scheme)
        strict = open_client(**address, version=1)
        lenient = open_client(**address, version=1, fall_back=True)
        assert lenient.answer(QUESTION, CONTEXT).model_version == 1
        write_config(repository, policy={"specific": {"versions": [2]}})
        server.reload()
        assert lenient.answer(QUESTION, CONTEXT).model_version == 2
        with pytest.raises(VersionNotFoundError, match="version 1 of the model 'bert-qa'"):
            strict.answer(QUESTION, CONTEXT)


def test_a_restart_in_the_middle_of_a_stream_is_waited_out(
    open_client: Twins, engine: str, repository: Path, scheme: str
) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        for number, pair in enumerate(PAIRS):
            if number == 30:
                server.stop()
                server.start()
            yield pair

    with Served(engine, repository) as server:
        client = open_client(**server.address(scheme), timeout=PATIENT)
        answers = list(client.answer_many(pairs(), look_ahead=8))
    itself = open_client(transport=InProcessTransport())
    assert answers == list(itself.answer_many(PAIRS))


def test_a_killed_server_is_waited_for_until_it_is_back(
    open_client: Twins, engine: str, repository: Path
) -> None:
    def pairs() -> Iterator[tuple[str, str]]:
        for number, pair in enumerate(PAIRS):
            if number == 30:
                server.kill()
                back.append(pool.submit(server.start))
            yield pair

    back: list[Future[None]] = []
    with Served(engine, repository, own_process=True) as server, ThreadPoolExecutor(1) as pool:
        client = open_client(**server.address(), timeout=PATIENT)
        answers = list(client.answer_many(pairs(), look_ahead=8))
        back[0].result()
    assert answers == list(open_client(transport=InProcessTransport()).answer_many(PAIRS))


@pytest.mark.parametrize(("scheme", "count"), [("grpc", 1000), ("http", 100)])
async def test_a_thousand_questions_at_once_are_answered(
    server: Served, scheme: str, count: int
) -> None:
    async with AsyncQAClient(**server.address(scheme), timeout=250.0) as client:
        questions = [(QUESTION, f"{CONTEXT} {number}") for number in range(count)]
        answers = await asyncio.gather(*(client.answer(*pair) for pair in questions))
    with QAClient(transport=InProcessTransport({2: model_info()})) as itself:
        assert answers == list(itself.answer_many(questions))


def test_a_model_that_does_not_describe_itself_takes_a_tokenizer(
    open_client: Twins, engine: str, tmp_path: Path
) -> None:
    write_toy_version(tmp_path, 1, describe=False)
    write_config(tmp_path)
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(tokenizer_json(), encoding="utf-8")
    with Served(engine, tmp_path) as server:
        with pytest.raises(NotAQAModelError, match="tokenizer="):
            open_client(**server.address()).answer(QUESTION, CONTEXT)
        given = open_client(f"localhost:{server.grpc_port}", tokenizer=tokenizer, timeout=PATIENT)
        expected = open_client(transport=InProcessTransport()).answer(QUESTION, CONTEXT)
        assert given.answer(QUESTION, CONTEXT) == expected
