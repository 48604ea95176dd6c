"""What every transport does, against the local engine over real sockets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertqa import AsyncQAClient, QAClient
from bertqa.errors import (
    ModelNotFoundError,
    ModelNotReadyError,
    NotAQAModelError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport.opening import open_transport
from bertqa.transport.security import Security
from bertqa_serve.engine.server import LocalServer
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, write_config, write_toy_version
from tests.support.ports import free_port
from tests.support.twins import Twins

QUESTION = "Who gave their name to Normandy?"
CONTEXT = "The Normans were the people who gave their name to Normandy, a region of France. " * 3
PAIRS = [(QUESTION, CONTEXT[number % 40 :] * (1 + number % 5)) for number in range(60)]
PATIENT = 120.0

SCHEMES = ["grpc", "dns", "http", "tfs"]


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def address(scheme: str, server: LocalServer) -> dict[str, Any]:
    """The URL, and where to learn the model, for the ports are not as far apart as usual."""
    rest = f"http://localhost:{server.rest_port}"
    urls = {
        "grpc": f"localhost:{server.grpc_port}",
        "dns": f"dns:///localhost:{server.grpc_port}",
        "http": rest,
        "tfs": f"tfs://localhost:{server.grpc_port}",
    }
    return {"url": urls[scheme], "metadata_url": rest, "timeout": PATIENT}


def test_answers_are_those_of_the_model_itself(
    open_client: Twins, server: LocalServer, scheme: str
) -> None:
    client = open_client(**address(scheme, server))
    itself = open_client(
        transport=InProcessTransport({1: model_info(), 2: model_info()}), timeout=PATIENT
    )
    for version in (None, 1):
        assert client.answers(QUESTION, CONTEXT, version=version) == itself.answers(
            QUESTION, CONTEXT, version=version
        )
    assert list(client.answer_many(PAIRS)) == list(itself.answer_many(PAIRS))


def test_what_is_not_there_is_named(open_client: Twins, server: LocalServer, scheme: str) -> None:
    with pytest.raises(VersionNotFoundError, match="version 9 of the model 'bert-qa'"):
        open_client(**address(scheme, server)).answer(QUESTION, CONTEXT, version=9)
    with pytest.raises(ModelNotFoundError, match="'nope'"):
        open_client(**address(scheme, server), model="nope").answer(QUESTION, CONTEXT)


def test_metadata_tells_the_signature_without_rest(server: LocalServer, scheme: str) -> None:
    options = address(scheme, server)
    transport = open_transport(
        options["url"],
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
    with pytest.raises(ServerUnreachableError, match=r"Nobody answers at http://localhost:\d+"):
        client.answer(QUESTION, CONTEXT)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_toy_version(tmp_path, 1)
    write_config(tmp_path)
    return tmp_path


def test_a_version_that_appears_is_noticed(
    open_client: Twins, repository: Path, scheme: str
) -> None:
    with LocalServer(
        repository / "config.json", poll_seconds=0.1, tensorflow_serving=True
    ) as server:
        client = open_client(**address(scheme, server))
        assert client.answer(QUESTION, CONTEXT).model_version == 1
        write_toy_version(repository, 2)
        deadline = time.monotonic() + PATIENT
        while client.answer(QUESTION, CONTEXT).model_version != 2:
            assert time.monotonic() < deadline


def test_a_restart_in_the_middle_of_a_stream_is_waited_out(
    open_client: Twins, repository: Path, scheme: str
) -> None:
    grpc_port, rest_port = free_port(), free_port()

    def run() -> LocalServer:
        started = LocalServer(
            repository / "config.json",
            grpc_port=grpc_port,
            rest_port=rest_port,
            tensorflow_serving=True,
        )
        started.start()
        return started

    server = run()

    def pairs() -> Iterator[tuple[str, str]]:
        nonlocal server
        for number, pair in enumerate(PAIRS):
            if number == 30:
                server.stop()
                server = run()
            yield pair

    try:
        client = open_client(**address(scheme, server))
        answers = list(client.answer_many(pairs(), look_ahead=8))
    finally:
        server.stop()
    itself = open_client(transport=InProcessTransport())
    assert answers == list(itself.answer_many(PAIRS))


def test_a_killed_server_is_waited_for_until_it_is_back(
    open_client: Twins, repository: Path
) -> None:
    ports = free_port(), free_port()
    command = [
        *(sys.executable, "-m", "bertqa_serve.engine"),
        *("--config_path", str(repository / "config.json")),
        *("--port", str(ports[0]), "--rest_port", str(ports[1])),
    ]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    try:
        client = open_client(
            f"localhost:{ports[0]}", metadata_url=f"http://localhost:{ports[1]}", timeout=PATIENT
        )
        wait_for(client)

        def pairs() -> Iterator[tuple[str, str]]:
            nonlocal process
            for number, pair in enumerate(PAIRS):
                if number == 30:
                    process.kill()
                    process.wait()
                    process = subprocess.Popen(command)
                yield pair

        answers = list(client.answer_many(pairs(), look_ahead=8))
    finally:
        process.kill()
        process.wait()
    assert answers == list(open_client(transport=InProcessTransport()).answer_many(PAIRS))


def wait_for(client: Any) -> None:
    deadline = time.monotonic() + PATIENT
    while True:
        try:
            client.answer(QUESTION, CONTEXT)
        except (ServerUnreachableError, ModelNotReadyError):
            assert time.monotonic() < deadline
        else:
            return


@pytest.mark.parametrize(("scheme", "count"), [("grpc", 1000), ("http", 100)])
async def test_a_thousand_questions_at_once_are_answered(
    server: LocalServer, scheme: str, count: int
) -> None:
    async with AsyncQAClient(**{**address(scheme, server), "timeout": 250.0}) as client:
        asked = [(QUESTION, f"{CONTEXT} {number}") for number in range(count)]
        answers = await asyncio.gather(*(client.answer(*pair) for pair in asked))
    with QAClient(transport=InProcessTransport({2: model_info()})) as itself:
        assert answers == list(itself.answer_many(asked))


def test_a_model_that_does_not_describe_itself_takes_a_tokenizer(
    open_client: Twins, tmp_path: Path
) -> None:
    write_toy_version(tmp_path, 1, describe=False)
    tokenizer = tmp_path / "tokenizer.json"
    from tests.support.models import tokenizer_json

    tokenizer.write_text(tokenizer_json(), encoding="utf-8")
    with LocalServer(write_config(tmp_path)) as server:
        with pytest.raises(NotAQAModelError, match="tokenizer="):
            open_client(**address("grpc", server)).answer(QUESTION, CONTEXT)
        given = open_client(f"localhost:{server.grpc_port}", tokenizer=tokenizer, timeout=PATIENT)
        expected = open_client(transport=InProcessTransport()).answer(QUESTION, CONTEXT)
        assert given.answer(QUESTION, CONTEXT) == expected
