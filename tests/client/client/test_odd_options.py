"""Options of odd types and sizes, for both clients: what is plain is taken, the rest refused."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertqa import (
    Answer,
    AsyncQAClient,
    BertQAError,
    InvalidOptionError,
    PipelineDecoder,
    QAClient,
    Recorder,
    SquadDecoder,
    answer_file,
    highlight,
)
from bertqa._checks import NO_LIMIT_SECONDS
from bertqa.client._local import ThreadedTransport
from bertqa.client._options import _CLIENT, AskOptions, Settings
from bertqa.client._router import WeightedRouter
from bertqa.evaluation import System, compare, evaluate, parse_squad, read_squad
from bertqa.runtime import load
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.odd import ODD, Named, Nasty, Text
from tests.support.twins import Twins

QUESTION = "Who gave their name to Normandy?"
CONTEXT = "The Normans were the people who gave their name to Normandy. " * 3
ASKED = {"id": "1", "question": QUESTION, "answers": [{"text": "Normans", "answer_start": 4}]}
PARAGRAPHS = [{"context": CONTEXT, "qas": [ASKED]}]
SQUAD = parse_squad({"data": [{"title": "one", "paragraphs": PARAGRAPHS}]}, "one")


def outcome_of(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or its error; any other error fails the test."""
    try:
        return call()
    except BertQAError as error:
        failure = error
    assert len(str(failure)) < 1000
    return failure


@pytest.fixture
def transport() -> InProcessTransport:
    return InProcessTransport({1: model_info(), 2: model_info()})


@pytest.mark.parametrize("option", [*AskOptions.__annotations__, "top_k"])
def test_each_option_of_a_question_is_taken_or_refused(
    option: str, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)
    refused = 0
    for value in ODD:
        transport.requests.clear()
        ask = partial(client.answers, QUESTION, CONTEXT, **{option: value})
        outcome = outcome_of(ask)
        if isinstance(outcome, InvalidOptionError):
            assert option in str(outcome), (value, outcome)
            assert transport.requests == [], (value, outcome)
            refused += 1
        elif not isinstance(outcome, BertQAError):
            assert all(isinstance(answer, Answer) for answer in outcome)
    assert refused > 20


@pytest.mark.parametrize("option", [*AskOptions.__annotations__, "look_ahead", "return_errors"])
def test_each_option_of_a_stream_is_taken_or_refused_before_a_pair_is_read(
    option: str, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    read: list[int] = []

    def pairs() -> Iterator[tuple[str, str]]:
        for number in range(2):
            read.append(number)
            yield QUESTION, CONTEXT

    def ask_all(**options: Any) -> list[Any]:
        return list(client.answer_many(pairs(), **options))

    for value in ODD:
        read.clear()
        outcome = outcome_of(partial(ask_all, **{option: value}))
        if isinstance(outcome, InvalidOptionError):
            assert option in str(outcome), (value, outcome)
            # Whether a length fits is up to the model.
            assert read == [] or "which" in str(outcome) or "at most" in str(outcome)
        elif not isinstance(outcome, BertQAError):
            assert len(outcome) == 2


@pytest.mark.parametrize(
    "argument",
    [
        *(name for name in _CLIENT if name != "path"),
        "tls",
        "token",
        "headers",
        "http_client",
        "channel_options",
    ],
)
def test_each_argument_of_a_client_is_taken_or_refused(argument: str, open_client: Twins) -> None:
    for value in ODD:
        given: dict[str, Any] = {"url": "localhost:1", argument: value}
        outcome_of(partial(open_client, **given))


@pytest.mark.parametrize("argument", ["path", "version", "timeout", "recorder", "tokenizer"])
def test_each_argument_of_a_local_client_is_taken_or_refused(
    argument: str, open_client: Twins
) -> None:
    for value in ODD:
        given = {"path": "/no/such/model", argument: value}
        assert isinstance(outcome_of(partial(open_client.local, **given)), BertQAError)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nothing_is_sent_where_an_option_is_refused(scheme: str, open_client: Twins) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        client = open_client(
            f"{scheme}://127.0.0.1:{listener.getsockname()[1]}",
            metadata_url=None
            if scheme == "http"
            else f"http://127.0.0.1:{listener.getsockname()[1]}",
        )
        for option, value in (
            ("version", 0),
            ("version", "two"),
            ("timeout", float("nan")),
            ("top_k", True),
            ("max_seq_len", -1),
            ("doc_stride", 10**5000),
            ("key", b"user"),
            ("align_to_words", "no"),
            ("decoder", SquadDecoder),
        ):
            with pytest.raises(InvalidOptionError, match=option):
                client.answers(QUESTION, CONTEXT, **{option: value})
        for pairs in ("text", b"bytes", None, 5, {"question": "context"}, np.array(5)):
            with pytest.raises(InvalidOptionError, match="pairs"):
                client.answer_many(pairs)
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [
        ("version", "2", 2),
        ("version", Text("2"), 2),
        ("version", Named.TWO, 2),
        ("version", 2.0, 2),
        ("version", np.int64(2), 2),
        ("version", Decimal("2.0"), 2),
        ("version", None, None),
        ("top_k", 2.0, 2),
        ("top_k", "2", 2),
        ("top_k", None, 5),
        ("max_seq_len", np.float32(32), 32),
        ("doc_stride", "4", 4),
        ("max_question_len", None, 64),
        ("max_answer_len", "3", 3),
        ("max_answer_len", None, 15),
        ("align_to_words", 0, False),
        ("align_to_words", np.bool_(False), False),
        ("handle_impossible_answer", None, False),
        ("decoder", None, PipelineDecoder()),
        ("timeout", "30", 30.0),
        ("timeout", Fraction(30), 30.0),
        ("timeout", None, 1e6),
        ("timeout", 1e300, 1e6),
        ("timeout", float("inf"), 1e6),
    ],
)
def test_what_is_meant_plainly_is_taken(
    option: str, value: object, meant: object, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    answers = client.answers(QUESTION, CONTEXT, **{option: value})
    assert answers == client.answers(QUESTION, CONTEXT, **{option: meant})


@pytest.mark.parametrize("endless", [None, 1e300, 10**400, float("inf"), NO_LIMIT_SECONDS])
@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_limit_is_one_that_every_transport_can_hold(
    endless: float | None, scheme: str, open_client: Twins, local_server: Any
) -> None:
    assert Settings.of({"timeout": endless}, 5.0).timeout == NO_LIMIT_SECONDS
    client = open_client(**local_server.address(scheme), timeout=endless)
    assert client.answer(QUESTION, CONTEXT).model_version == 2
    assert len(list(client.answer_many([(QUESTION, CONTEXT)] * 3, timeout=endless))) == 3


def test_a_key_may_be_a_number(open_client: Twins, transport: InProcessTransport) -> None:
    client = open_client(transport=transport, traffic={"1": "50", 2.0: np.float32(50)})
    for key in range(8):
        answer = client.answer(QUESTION, CONTEXT, key=key)
        assert answer.model_version == client.answer(QUESTION, CONTEXT, key=str(key)).model_version
    with pytest.raises(InvalidOptionError, match="twice"):
        WeightedRouter({"1": 5, 1: 5})  # type: ignore[dict-item]


@pytest.mark.parametrize("text", [b"Who?", None, 5, ["Who?"], Nasty(), "\ud800", " ", ""])
def test_a_text_that_is_none_is_refused(
    text: Any, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    for question, context in ((text, CONTEXT), (QUESTION, text)):
        with pytest.raises(BertQAError):
            client.answer(question, context)
        (outcome,) = client.answer_many([(question, context)], return_errors=True)
        assert isinstance(outcome, BertQAError)
    assert transport.requests == []


def test_a_text_of_a_subclass_is_its_characters(
    open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    answer = client.answer(Text(QUESTION), Text(CONTEXT))
    assert answer == client.answer(QUESTION, CONTEXT)
    assert type(answer.text) is str


@pytest.mark.parametrize(
    "pair", ["ab", b"ab", {"question": 1, "context": 2}, {"a", "b"}, ("a",), ("a", "b", "c"), 5]
)
def test_a_pair_that_is_none_is_refused(
    pair: Any, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    with pytest.raises(InvalidOptionError, match="pairs"):
        list(client.answer_many([pair]))


@pytest.mark.parametrize("option", [*AskOptions.__annotations__, "top_k", "headers"])
def test_each_option_of_a_copy_is_taken_or_refused(
    option: str, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    outcomes = [outcome_of(partial(client.with_options, **{option: each})) for each in ODD]
    assert any(isinstance(each, InvalidOptionError) for each in outcomes)


@pytest.mark.parametrize(
    ("method", "option", "words"),
    [
        ("answer", "top_k", r"no option top_k here: use answers\(\)"),
        ("answer_many", "top_k", r"no option top_k here: use answers\(\), answers_many\(\)"),
        ("answers", "headers", r"no option headers here: use with_options\(\)"),
        ("answer", "look_ahead", r"here: use answer_many\(\) and answers_many\(\)"),
        ("with_options", "topk", r"timeout, and top_k \(of .*, headers \(of with_options\(\)\)"),
    ],
)
def test_an_option_of_another_method_leads_there(
    method: str, option: str, words: str, open_client: Twins, transport: InProcessTransport
) -> None:
    client = open_client(transport=transport)
    given: dict[str, Any] = {
        "answer_many": {"pairs": [(QUESTION, CONTEXT)]},
        "with_options": {},
    }.get(method, {"question": QUESTION, "context": CONTEXT})
    with pytest.raises(InvalidOptionError, match=words):
        list(getattr(client, method)(**given, **{option: 3}))
    assert transport.requests == []


def test_a_client_whose_answers_are_awaited_is_refused_where_nothing_awaits_them(
    tmp_path: Path, transport: InProcessTransport
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("question,context\nWho?,He was.\n")
    awaited: Any = AsyncQAClient(transport=ThreadedTransport(transport))
    calls: list[Callable[[], object]] = [
        lambda: answer_file(awaited, rows, tmp_path / "a.csv"),
        lambda: evaluate(awaited, SQUAD),
        lambda: System("a", awaited),
    ]
    for call in calls:
        with pytest.raises(InvalidOptionError, match=r"AsyncQAClient.* has to be a QAClient"):
            call()
    assert list(tmp_path.iterdir()) == [rows]


@pytest.mark.parametrize("mark", ["\ufeff", "\udcff\udcfe"])
@pytest.mark.parametrize("argument", ["url", "metadata_url"])
def test_an_address_that_begins_with_the_mark_of_a_file_is_refused(
    argument: str, mark: str, open_client: Twins
) -> None:
    given = {"url": "localhost:1", argument: f"{mark}http://localhost:8000"}
    with pytest.raises(InvalidOptionError, match=f"{argument} is .*byte order mark"):
        open_client(**given)


@pytest.mark.parametrize(("path", "reason"), [("a" * 300, "File name too long"), ("a\0b", "null")])
def test_a_path_that_cannot_be_one_is_refused_with_the_reason(
    path: str, reason: str, tmp_path: Path, transport: InProcessTransport, open_client: Twins
) -> None:
    with pytest.raises(InvalidOptionError, match=f"path is .*cannot be a path: .*{reason}"):
        open_client.local(path)
    with (
        QAClient(transport=transport) as client,
        pytest.raises(InvalidOptionError, match=f"target is .*cannot be a path: .*{reason}"),
    ):
        answer_file(client, tmp_path, path)


def test_decoders_recorders_and_evaluation_check_their_arguments(
    tmp_path: Path, transport: InProcessTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, rows = tmp_path / "log", tmp_path / "rows.csv"
    rows.write_text("question,context,b\nWho?,,\n")
    monkeypatch.chdir(tmp_path)
    with QAClient(transport=transport) as client:
        system, other = System("a", client, 1), System("b", client, 2)
        calls: list[Callable[[Any], object]] = [
            lambda value: PipelineDecoder(max_answer_len=value),
            lambda value: PipelineDecoder(align_to_words=value),
            lambda value: PipelineDecoder(handle_impossible_answer=value),
            lambda value: SquadDecoder(n_best=value),
            lambda value: SquadDecoder(max_answer_len=value),
            lambda value: SquadDecoder(null_score_threshold=value),
            lambda value: Recorder(log, sample=value).close(),
            lambda value: Recorder(log, clear=value).close(),
            lambda value: Recorder(log, key=value).close(),
            lambda value: load(tmp_path, value),
            lambda value: load(value),
            lambda value: evaluate(client, SQUAD, version=value),
            lambda value: compare(system, System("b", client, value), SQUAD, latency_questions=1),
            lambda value: compare(system, other, SQUAD, latency_questions=value),
            lambda value: highlight(CONTEXT, around=value),
            lambda value: highlight(value),
            lambda value: read_squad(value),
            lambda value: answer_file(client, value, tmp_path / "a.csv"),
            lambda value: answer_file(client, rows, value),
            lambda value: answer_file(client, rows, tmp_path / "a.csv", top_k=value),
            lambda value: answer_file(client, rows, tmp_path / "a.csv", id_column=value),
            lambda value: answer_file(client, rows, tmp_path / "a.csv", question_column=value),
            lambda value: answer_file(client, rows, tmp_path / "a.csv", context_column=value),
            lambda value: answer_file(client, rows, tmp_path / "a.csv", max_answer_len=value),
            lambda value: highlight(CONTEXT, value),
            lambda value: answer_file(value, rows, tmp_path / "a.csv"),
            lambda value: evaluate(value, SQUAD),
            lambda value: System("a", value),
        ]
        for call in calls:
            outcomes = [outcome_of(partial(call, value)) for value in ODD]
            assert any(isinstance(each, BertQAError) for each in outcomes)
