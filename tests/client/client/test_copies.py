"""Clients with other options over the same connections, and the end of them all."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bertqa import (
    AccessDeniedError,
    Answer,
    AsyncQAClient,
    BertQAError,
    ClientStateError,
    InvalidOptionError,
    QAClient,
    SquadDecoder,
)
from bertqa.client._local import ThreadedTransport
from bertqa.transport import InferResult, Inputs
from tests.support.engines import Served
from tests.support.gates import GrpcGate
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.questions import CONTEXT, QUESTION
from tests.support.rest_gate import rest_gate
from tests.support.twins import Twins

PAIRS = [(QUESTION, CONTEXT)] * 3


@contextmanager
def recorded(server: Served, scheme: str) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """How to open a client, and the headers of each of its calls."""
    with rest_gate(server.rest_url) as rest, GrpcGate(server.grpc_port) as grpc:
        if scheme == "http":
            yield {"url": rest.url}, rest.headers
        else:
            yield {"url": f"localhost:{grpc.port}", "metadata_url": rest.url}, grpc.calls


@pytest.fixture
def transport() -> InProcessTransport:
    return InProcessTransport({1: model_info(), 2: model_info()})


def test_a_copy_has_other_defaults_and_the_same_connections(
    open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport, timeout=50)
    copy = client.with_options(version=1, top_k=2, max_answer_len="3")
    assert {each.model_version for each in copy.answers(QUESTION, CONTEXT)} == {1}
    assert copy.answers(QUESTION, CONTEXT) == client.answers(
        QUESTION, CONTEXT, top_k=2, version=1, max_answer_len=3
    )
    assert copy.answer(QUESTION, CONTEXT, version=2).model_version == 2
    assert client.answer(QUESTION, CONTEXT).model_version == 2
    assert {each.model_version for each in copy.answer_many(PAIRS)} == {1}
    again = copy.with_options(version=None, decoder=SquadDecoder())
    assert again.answers(QUESTION, CONTEXT) == client.answers(
        QUESTION, CONTEXT, top_k=2, decoder=SquadDecoder()
    )
    # A keyword of the pipeline takes the place of a decoder, and the other way round.
    assert again.answers(QUESTION, CONTEXT, max_answer_len=3) == client.answers(
        QUESTION, CONTEXT, top_k=2, max_answer_len=3
    )
    assert copy.answer(QUESTION, CONTEXT, decoder=SquadDecoder(), version=2) == client.answer(
        QUESTION, CONTEXT, decoder=SquadDecoder()
    )
    # Each version was described once.
    assert len(transport.described) == len(set(transport.described))


def test_a_copy_that_cannot_be_is_refused(
    open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    for options in (
        {"timeout": 0},
        {"top_k": 0},
        {"timout": 3},
        {"decoder": SquadDecoder(), "max_answer_len": 3},
        {"headers": {"x": "a\nb"}},
        {"headers": {"Host": "other"}},
        {"headers": 5},
    ):
        with pytest.raises(InvalidOptionError):
            client.with_options(**options)


def test_closing_one_closes_all(open_client: Twins, transport: InProcessTransport) -> None:
    client = open_client(transport=transport)
    copy = client.with_options(timeout=3)
    assert not client.is_closed
    copy.close()
    assert client.is_closed
    assert copy.is_closed
    assert transport.closed
    for closed in (client, copy):
        with pytest.raises(ClientStateError, match="closed"):
            closed.answer(QUESTION, CONTEXT)
        with pytest.raises(ClientStateError, match="closed"):
            list(closed.answer_many(PAIRS))
        with pytest.raises(ClientStateError, match="closed"):
            closed.with_options(timeout=3)


def test_a_copy_outlives_a_client_that_is_forgotten(local_server: Served) -> None:
    copy = QAClient(**local_server.address("http")).with_options(version=1)
    gc.collect()
    with copy:
        assert copy.answer(QUESTION, CONTEXT).model_version == 1


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_headers_of_a_copy_are_sent_with_its_calls_alone(
    scheme: str, open_client: Twins, local_server: Served
) -> None:
    with recorded(local_server, scheme) as (address, calls):
        client = open_client(**address, timeout=60, headers={"X-Team": "search", "X-Kind": "all"})
        copy = client.with_options(headers={"x-team": "shop", "X-User": "17"})
        client.answer(QUESTION, CONTEXT)
        assert {call["x-team"] for call in calls} == {"search"}
        assert not any("x-user" in call for call in calls)
        calls.clear()
        copy.answer(QUESTION, CONTEXT)
        assert len(list(copy.answer_many(PAIRS))) == 3
        assert {(call["x-team"], call["x-kind"], call["x-user"]) for call in calls} == {
            ("shop", "all", "17")
        }
        calls.clear()
        client.answer(QUESTION, CONTEXT)
        assert {call["x-team"] for call in calls} == {"search"}
        client.close()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize("awaits", [False, True])
def test_a_token_is_asked_for_at_each_request(
    scheme: str, awaits: bool, open_client: Twins, local_server: Served
) -> None:
    if awaits and open_client.kind == "sync":
        pytest.skip("only the asynchronous client can await")
    numbers = itertools.count()

    def token() -> str:
        return f"t{next(numbers)}"

    async def awaited() -> str:
        await asyncio.sleep(0)
        return token()

    given: Callable[[], str | Awaitable[str]] = awaited if awaits else token
    with recorded(local_server, scheme) as (address, calls):
        client = open_client(**address, timeout=60, token=given)
        for _ in range(3):
            client.answer(QUESTION, CONTEXT)
        client.close()
        sent = [call["authorization"] for call in calls]
    assert len(sent) >= 3
    assert len(set(sent)) == len(sent)
    assert all(each.lower().startswith("bearer t") for each in sent)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (lambda: 1 / 0, AccessDeniedError),
        (lambda: None, InvalidOptionError),
        (lambda: "a\nb", InvalidOptionError),
    ],
)
def test_a_token_that_cannot_be_had_is_an_error_of_ours(
    scheme: str,
    token: Any,
    kind: type[BertQAError],
    open_client: Twins,
    local_server: Served,
) -> None:
    client = open_client(**local_server.address(scheme), token=token, timeout=30)
    with pytest.raises(kind, match="token="):
        client.answer(QUESTION, CONTEXT)


def test_a_close_that_fails_in_one_place_closes_the_rest(open_client: Twins, tmp_path: Any) -> None:
    class Faulty(InProcessTransport):
        def close(self) -> None:
            super().close()
            raise RuntimeError("a fault of the transport's")

    transport = Faulty()
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)
    with pytest.raises(RuntimeError, match="a fault"):
        client.close()
    assert transport.closed
    assert client.is_closed
    client.close()
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith("bertqa-request") for name in names)


def test_a_client_that_cannot_be_made_leaves_no_connection(
    open_client: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traffic is read over a transport of its own, which is opened after the first."""
    closed: list[object] = []

    def refuse(*_: object) -> None:
        raise InvalidOptionError("a mistake")

    module = f"bertqa.client._{open_client.kind}.client"
    kind = "open_transport" if open_client.kind == "sync" else "open_async_transport"
    split = kind.replace("transport", "split_transport")

    class Counted(InProcessTransport):
        def close(self) -> None:
            closed.append(self)

    made: Any = Counted() if open_client.kind == "sync" else ThreadedTransport(Counted())
    monkeypatch.setattr(f"{module}.{kind}", lambda *_: made)
    monkeypatch.setattr(f"{module}.{split}", refuse)
    with pytest.raises(InvalidOptionError, match="a mistake"):
        open_client("localhost:9000", traffic="auto")
    gc.collect()
    if open_client.kind == "sync":
        assert len(closed) == 1


def test_a_shadow_that_comes_too_late_is_left_out(transport: InProcessTransport) -> None:
    """Closing ends the threads for shadows; an answer that comes meanwhile is returned."""
    client = QAClient(transport=transport, version=1, shadow=2, on_shadow=lambda *_: None)
    client._driver.finish()
    assert client.answer(QUESTION, CONTEXT).model_version == 1
    client.close()
    assert transport.closed


def test_a_local_client_loads_no_model_where_an_argument_is_wrong(
    open_client: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("bertqa.client._local.load_model", load)
    for wrong in ({"timeout": 0}, {"recorder": 5}, {"version": "two"}, {"tokenizer": 5}):
        with pytest.raises(InvalidOptionError):
            open_client.local("/a/model", **wrong)


def test_an_asynchronous_client_needs_an_event_loop() -> None:
    client = AsyncQAClient(transport=ThreadedTransport(InProcessTransport()))
    for step in (client.answer(QUESTION, CONTEXT), anext(client.answer_many(PAIRS))):
        steps: Any = step
        with pytest.raises(ClientStateError, match="event loop"):
            steps.__await__().__next__() if hasattr(steps, "__await__") else steps.send(None)


async def test_a_task_that_is_left_does_not_close_what_others_use(
    transport: InProcessTransport,
) -> None:
    release = threading.Event()

    class Slow(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            release.wait(60)
            return super().infer(inputs, version=version, timeout=timeout)

    client = AsyncQAClient(transport=ThreadedTransport(Slow()))
    copy = client.with_options(timeout=60)
    left = asyncio.create_task(copy.answer(QUESTION, CONTEXT))
    await asyncio.sleep(0)
    left.cancel()
    release.set()
    assert isinstance(await client.answer(QUESTION, CONTEXT), Answer)
    await client.close()
