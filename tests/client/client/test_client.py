"""What both clients do: each test runs for the synchronous and for the asynchronous one.

It runs on every engine where a server as it is will do, and in this process where the model has to
misbehave, to change under the client's feet, or to record the requests.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertqa import Answer, AsyncQAClient, BertQAError, QAClient, SquadDecoder
from bertqa.errors import (
    ClientStateError,
    DeadlineExceededError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport import (
    InferResult,
    Inputs,
    Security,
    TransportOptions,
    open_transport,
)
from bertqa.transport._sync.searching import SearchingTransport
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.questions import CONTEXT, QUESTION, pairs
from tests.support.twins import Twins

LONG_CONTEXT = CONTEXT * 20


@pytest.mark.parametrize("context", [CONTEXT, LONG_CONTEXT, "x", "日本の首都は東京です。" * 200])
def test_an_answer_is_a_stretch_of_the_context(qa: Any, context: str) -> None:
    answers = qa.answers(QUESTION, context, top_k=4)
    assert 1 <= len(answers) <= 4
    assert qa.answer(QUESTION, context) in qa.answers(QUESTION, context, top_k=1)
    for answer in answers:
        assert context[answer.start : answer.end] == answer.text != ""
        assert 0 <= answer.score <= 1
        assert answer.model_version == 2


def test_top_k_never_changes_the_type(qa: Any) -> None:
    assert [len(qa.answers(QUESTION, CONTEXT, top_k=k)) for k in (1, 2)] == [1, 2]
    with pytest.raises(InvalidOptionError, match="top_k is 0"):
        qa.answers(QUESTION, CONTEXT, top_k=0)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    question=st.text(st.characters(), max_size=60),
    context=st.text(st.characters(), max_size=400),
    squad=st.booleans(),
)
def test_any_text_is_answered_or_refused_by_an_error_of_ours(
    question: str, context: str, squad: bool
) -> None:
    decoder: dict[str, Any] = {"decoder": SquadDecoder(null_score_threshold=0.0)} if squad else {}
    try:
        answers = ANY_TEXT_CLIENT.answers(question, context, top_k=3, max_seq_len=96, **decoder)
    except (InvalidQuestionError, InvalidContextError):
        return
    for answer in answers:
        assert context[answer.start : answer.end] == answer.text


ANY_TEXT_CLIENT = QAClient(transport=InProcessTransport())


@pytest.mark.parametrize(
    "context",
    [
        "👩‍👩‍👧‍👦 moved to 🇫🇷 with 🏴󠁧󠁢󠁳󠁣󠁴󠁿 friends",
        "e\u0301te\u0301 noe\u0308l Z\u0351\u036b\u0343alg\u0322o",
        "انتقل النورمان إلى فرنسا في القرن العاشر",
        "诺曼人在十世纪定居法国",
        "zero\u200bwidth\u200djoined\ufefftext\u00ad",
        "before\x00after \x01 NUL",
        "first line\r\nsecond line\r\n\r\nthird",
        "nospacesatall" * 300,
        "ﬁne ligatures ½ ① Ⅳ ㎏ İstanbul ß",
    ],
)
def test_offsets_hold_in_every_script(qa: Any, context: str) -> None:
    for options in ({}, {"align_to_words": False}, {"decoder": SquadDecoder()}):
        for answer in qa.answers("Who? 谁؟", context, top_k=5, **options):
            assert context[answer.start : answer.end] == answer.text


def test_a_megabyte_is_answered(qa: Any) -> None:
    context = "The Normans gave their name. " * 36_000
    answer = qa.answer(QUESTION, context)
    assert context[answer.start : answer.end] == answer.text != ""


def test_many_questions_get_their_own_answers_in_order(open_client: Twins) -> None:
    transport = InProcessTransport()
    client = open_client(transport=transport)
    questions = pairs(150)
    expected = [client.answer(*pair) for pair in questions]
    transport.requests.clear()

    assert list(client.answer_many(iter(questions), look_ahead=64)) == expected

    assert len(transport.requests) < len(questions) / 3
    for _, (windows, tokens) in transport.requests:
        assert tokens % 32 == 0
        assert windows * tokens <= 2048 or windows == 1


def test_no_request_has_more_tokens_than_its_budget(open_client: Twins) -> None:
    found = {}
    for budget in (64, 2048):
        transport = InProcessTransport()
        client = open_client(transport=transport, token_budget=budget)
        list(client.answer_many([(QUESTION, CONTEXT)] * 12))
        found[budget] = [batch * tokens for _, (batch, tokens) in transport.requests]
    assert max(found[64]) <= 64 < max(found[2048])


def test_no_question_gets_no_answer(open_client: Twins) -> None:
    assert list(open_client(transport=InProcessTransport()).answer_many([])) == []


def test_an_endless_stream_is_read_only_as_far_as_needed(qa: Any) -> None:
    read = itertools.count()
    endless = ((QUESTION, CONTEXT) for _ in read)
    answers = qa.answer_many(endless, look_ahead=16)
    first = [next(answers) for _ in range(40)]
    assert len(set(first)) == 1
    assert next(read) <= 40 + 3 * 16 + 1


@pytest.mark.parametrize("verb", ["answer_many", "answers_many"])
def test_a_source_may_wait_for_each_answer(open_client: Twins, verb: str) -> None:
    client = open_client(transport=InProcessTransport())
    answered: list[Any] = []
    # One window, several, and a text that is worked on beside the stream.
    contexts = [CONTEXT * repeats for repeats in (1, 15, 100, 1, 1)]

    def source() -> Iterator[tuple[str, str]]:
        for number, context in enumerate(contexts):
            assert len(answered) == number, "a pair is read before the answer to the one before"
            yield QUESTION, context

    for answer in getattr(client, verb)(source(), look_ahead=1):
        answered.append(answer)
    assert len(answered) == len(contexts)


def test_no_secret_is_shown(open_client: Twins) -> None:
    secrets: dict[str, Any] = {"token": "s3cret", "headers": {"x-team": "t0psecret"}}
    for url in ("localhost:9000", "http://localhost:8000"):
        client = open_client(url, **secrets)
        assert repr(client).endswith(f"QAClient({url!r}, model='bert-qa')")
    security = Security.of(None, **secrets)
    options: TransportOptions = {
        "model": "bert-qa",
        "metadata_url": None,
        "learns": True,
        "security": security,
    }
    for url in ("localhost:9000", "http://localhost:8000"):
        transport = open_transport(url, options)
        assert "bert-qa" in repr(transport)
        for shown in (repr(transport), repr(security), str(security), repr(options)):
            assert "s3cret" not in shown
            assert "t0psecret" not in shown
        transport.close()
    assert "authorization" in repr(security)


def test_a_bad_pair_is_reported_in_its_place(qa: Any) -> None:
    mixed = [(QUESTION, CONTEXT), ("", CONTEXT), (QUESTION, "a\ud800"), (QUESTION, CONTEXT)]
    good, no_question, no_context, good_again = qa.answer_many(mixed, return_errors=True)
    assert good == good_again == qa.answer(QUESTION, CONTEXT)
    assert isinstance(no_question, InvalidQuestionError)
    assert isinstance(no_context, InvalidContextError)
    answers = qa.answer_many(mixed)
    assert next(answers) == good
    with pytest.raises(InvalidQuestionError):
        next(answers)


def test_an_error_of_the_server_ends_a_stream(open_client: Twins) -> None:
    class Failing(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            raise ServerUnreachableError("It is gone.")

    client = open_client(transport=Failing(), timeout=0.5)
    with pytest.raises(ServerUnreachableError, match="It is gone"):
        list(client.answer_many(pairs(100), return_errors=True))


@pytest.mark.parametrize("bad", ["missing", "shape", "nan"])
def test_strange_outputs_are_refused(open_client: Twins, bad: str) -> None:
    class Strange(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            result = super().infer(inputs, version=version, timeout=timeout)
            logits = result.outputs["end_logits"]
            changed = {"shape": logits[:, 1:], "nan": logits * float("nan")}.get(bad)
            outputs = {**result.outputs, "end_logits": changed}
            kept = {name: array for name, array in outputs.items() if array is not None}
            return InferResult(kept, result.model_version)

    with pytest.raises(ProtocolError):
        open_client(transport=Strange()).answer(QUESTION, CONTEXT)


def test_a_deadline_holds_for_the_whole_answer(open_client: Twins) -> None:
    release = threading.Event()

    class Stuck(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            assert 0 < timeout <= 0.2
            release.wait(timeout)
            return super().infer(inputs, version=version, timeout=timeout)

    client = open_client(transport=Stuck())
    with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
        client.answer(QUESTION, LONG_CONTEXT * 40, timeout=0.2)


def test_a_closed_client_says_so_and_closes_its_transport(open_client: Twins) -> None:
    transport = InProcessTransport()
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)
    client.close()
    client.close()
    assert transport.closed
    with pytest.raises(ClientStateError, match="closed"):
        client.answer(QUESTION, CONTEXT)


def test_bad_options_are_refused_before_a_pair_is_read(open_client: Twins) -> None:
    client = open_client(transport=InProcessTransport())
    for options in ({"look_ahead": 0}, {"max_anwser_len": 3}, {"timeout": -1.0}):
        with pytest.raises(InvalidOptionError):
            client.answer_many(iter([(QUESTION, CONTEXT)]), **options)
        with pytest.raises(InvalidOptionError):
            client.answer_many(iter([(QUESTION, CONTEXT)]), return_errors=True, **options)
    for strange in (None, (QUESTION,), (QUESTION, CONTEXT, "more")):
        with pytest.raises(InvalidOptionError, match="a question and a context"):
            list(client.answer_many([strange]))


def test_a_fork_is_noticed(open_client: Twins) -> None:
    client = open_client(transport=InProcessTransport())
    child = os.fork()
    if child == 0:
        try:
            client.answer(QUESTION, CONTEXT)
        except ClientStateError as error:
            os._exit(0 if "survive a fork" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_leaves_connections_that_it_does_not_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed_in: list[int] = []
    client = QAClient("http://localhost:1")
    own = id(client._transport)

    def close(transport: SearchingTransport) -> None:
        if id(transport) == own:  # Not that of a client which another test left behind.
            closed_in.append(os.getpid())

    monkeypatch.setattr(SearchingTransport, "close", close)
    child = os.fork()
    if child == 0:
        del client
        gc.collect()
        os._exit(len(closed_in))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    del client
    gc.collect()
    assert closed_in == [os.getpid()]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_an_asynchronous_client_belongs_to_its_first_loop(server: Served, scheme: str) -> None:
    client = AsyncQAClient(**server.address(scheme))

    async def ask() -> Answer:
        return await client.answer(QUESTION, CONTEXT)

    async def ask_many() -> list[Answer]:
        return [answer async for answer in client.answer_many([(QUESTION, CONTEXT)])]

    assert asyncio.run(ask()).text
    for again in (ask, ask_many, ask):
        with pytest.raises(ClientStateError, match="belongs to the event loop"):
            asyncio.run(again())
    asyncio.run(client.close())
    with pytest.raises(ClientStateError, match="closed"):
        asyncio.run(ask())


def test_threads_share_a_client(server: Served) -> None:
    with QAClient(**server.address()) as client:
        questions = pairs(40)
        expected = [client.answer(*pair) for pair in questions]
        found: list[list[Answer]] = []
        threads = [
            threading.Thread(target=lambda: found.append(list(client.answer_many(questions))))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [expected] * 6


def test_closing_ends_what_other_threads_ask() -> None:
    working = threading.Event()

    class Noting(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            working.set()
            return super().infer(inputs, version=version, timeout=timeout)

    client = QAClient(transport=Noting())
    ends: list[BertQAError] = []

    def ask_for_ever() -> None:
        try:
            for _ in client.answer_many(itertools.repeat((QUESTION, CONTEXT)), look_ahead=4):
                pass
        except BertQAError as error:
            ends.append(error)

    threads = [threading.Thread(target=ask_for_ever) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert working.wait(60)
    client.close()
    for thread in threads:
        thread.join(60)
    assert [type(error) for error in ends] == [ClientStateError] * 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "address of a server"),
        ({"url": "localhost:1", "transport": InProcessTransport()}, "not both"),
        ({"url": "localhost:1", "version": 1, "traffic": {1: 1}}, "not both"),
        ({"url": "localhost:1", "shadow": 1}, "together"),
        ({"url": "localhost:1", "timeout": -1}, "timeout is -1"),
        ({"url": "localhost:9000", "metadata_url": "localhost:1"}, "metadata_url"),
        ({"url": "localhost:500"}, "no REST port by convention"),
        ({"url": "ftp://localhost"}, "begins with ftp://"),
    ],
)
def test_a_client_that_cannot_be_is_refused(
    open_client: Twins, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidOptionError, match=text):
        open_client(**arguments)


def test_the_twins_have_the_same_public_methods_with_the_same_parameters() -> None:
    def public(client: type) -> dict[str, list[str]]:
        return {
            name: [
                str(each).split(":")[0] for each in inspect.signature(method).parameters.values()
            ]
            for name, method in inspect.getmembers(client, callable)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(QAClient) == public(AsyncQAClient)
