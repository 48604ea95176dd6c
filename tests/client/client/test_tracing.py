from __future__ import annotations

import logging
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bertqa import VersionNotFoundError
from bertqa.client import _tracing as tracing
from tests.support.engines import Served
from tests.support.gates import GrpcGate
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.rest_gate import rest_gate
from tests.support.twins import Twins

CONTEXT = "The Normans were the people who gave their name to Normandy. "


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", lambda: provider.get_tracer("bertqa"))
    return exporter


@pytest.mark.parametrize("repeats", [1, 200])
def test_the_stages_of_an_answer_are_spans_of_one_trace(
    open_client: Twins, spans: InMemorySpanExporter, repeats: int
) -> None:
    client = open_client(transport=InProcessTransport())
    client.answer("Who?", CONTEXT * repeats)
    found = spans.get_finished_spans()
    (answer,) = [span for span in found if span.name == "bertqa.answer"]
    names = {span.name for span in found}
    assert names == {
        "bertqa.answer",
        "bertqa.metadata",
        "bertqa.tokenize",
        "bertqa.infer",
        "bertqa.decode",
    }
    for span in found:
        if span is not answer:
            assert span.parent is not None
            assert answer.context is not None
            assert span.parent.span_id == answer.context.span_id
    infers = [span for span in found if span.name == "bertqa.infer"]
    assert all(span.attributes and span.attributes["bertqa.windows"] for span in infers)
    assert (len(infers) > 1) == (repeats > 1)


def attribute(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_requests_carry_the_trace_to_the_server(
    scheme: str, open_client: Twins, spans: InMemorySpanExporter, local_server: Served
) -> None:
    with rest_gate(local_server.rest_url) as rest, GrpcGate(local_server.grpc_port) as grpc:
        port, calls = (rest.port, rest.headers) if scheme == "http" else (grpc.port, grpc.calls)
        client = open_client(f"{scheme}://127.0.0.1:{port}", metadata_url=rest.url, timeout=60)
        client.answer("Who?", CONTEXT)
        client.close()
    requests = [each for each in spans.get_finished_spans() if each.kind is SpanKind.CLIENT]
    assert {each.name for each in requests} == {"bertqa.metadata", "bertqa.infer"}
    sent = {str(call.get("traceparent")).rpartition("-")[0] for call in calls}
    for span in requests:
        assert span.context is not None
        parent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}"
        if scheme == "http" or span.name == "bertqa.infer":
            assert parent in sent
        assert attribute(span, "server.address") == "127.0.0.1"
        of_metadata = span.name == "bertqa.metadata"
        assert attribute(span, "server.port") == (rest.port if of_metadata else port)
        assert attribute(span, "bertqa.model") == "bert-qa"


def test_each_question_of_a_stream_is_a_span_of_the_streams(
    open_client: Twins, spans: InMemorySpanExporter
) -> None:
    client = open_client(transport=InProcessTransport())
    pairs = [("Who?", CONTEXT), ("", CONTEXT), ("Where?", CONTEXT)]
    assert len(list(client.answer_many(pairs, return_errors=True))) == 3
    found = spans.get_finished_spans()
    (stream,) = [span for span in found if span.name == "bertqa.answer_many"]
    assert stream.context is not None
    questions = [span for span in found if span.name == "bertqa.answer"]
    assert [attribute(span, "error.type") for span in questions] == [
        None,
        "InvalidQuestionError",
        None,
    ]
    assert [attribute(span, "bertqa.version") for span in questions] == [1, None, 1]
    for span in found:
        if span is not stream:
            assert span.parent is not None
            assert span.parent.span_id == stream.context.span_id
    assert stream.status.status_code is not StatusCode.ERROR


@pytest.mark.parametrize("shadow", [2, 9])
@pytest.mark.parametrize("in_stream", [False, True])
def test_a_shadow_is_below_the_question_that_it_copies(
    open_client: Twins, spans: InMemorySpanExporter, shadow: int, in_stream: bool
) -> None:
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    client = open_client(transport=transport, version=1, shadow=shadow, on_shadow=lambda *_: None)
    if in_stream:
        assert len(list(client.answer_many([("Who?", CONTEXT)]))) == 1
    else:
        client.answer("Who?", CONTEXT)
    client.close()
    found = spans.get_finished_spans()
    (question,) = [span for span in found if span.name == "bertqa.answer"]
    (copy,) = [span for span in found if span.name == "bertqa.shadow"]
    assert question.context is not None
    assert copy.parent is not None
    assert copy.parent.span_id == question.context.span_id
    assert len({span.context.trace_id for span in found if span.context is not None}) == 1
    assert attribute(question, "bertqa.version") == 1
    is_there = shadow == 2
    assert attribute(copy, "bertqa.version") == (2 if is_there else None)
    assert attribute(copy, "error.type") == (None if is_there else "VersionNotFoundError")


def test_a_stream_that_is_left_ends_its_spans(
    open_client: Twins, spans: InMemorySpanExporter
) -> None:
    current = trace.get_current_span()
    client = open_client(transport=InProcessTransport())
    stream = client.answer_many([("Who?", CONTEXT)] * 50)
    next(stream)
    assert trace.get_current_span() is current
    stream.close()
    names = Counter(span.name for span in spans.get_finished_spans())
    assert names["bertqa.answer_many"] == 1
    assert names["bertqa.answer"] > 1


def test_a_failure_is_marked_and_quotes_nothing(
    open_client: Twins, spans: InMemorySpanExporter
) -> None:
    client = open_client(transport=InProcessTransport())
    with pytest.raises(VersionNotFoundError):
        client.answer("a secret question", CONTEXT, version=9)
    found = spans.get_finished_spans()
    (answer,) = [span for span in found if span.name == "bertqa.answer"]
    assert answer.status.status_code is StatusCode.ERROR
    assert attribute(answer, "error.type") == "VersionNotFoundError"
    shown = " ".join(span.to_json() for span in found)
    assert "secret" not in shown
    assert "Normans" not in shown


def test_a_propagator_that_sends_nonsense_stops_nothing(
    open_client: Twins, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inject(carrier: dict[str, str]) -> None:
        carrier["baggage"] = "a\nb"

    monkeypatch.setattr("opentelemetry.propagate.inject", inject)
    client = open_client(transport=InProcessTransport())
    assert client.answer("Who?", CONTEXT).text
    assert spans.get_finished_spans()


@pytest.mark.parametrize("installed", [True, False])
def test_the_api_is_not_imported_before_a_question_and_need_not_be_there(installed: bool) -> None:
    program = f"""
import sys
if not {installed}:
    sys.modules["opentelemetry"] = None
import bertqa
from tests.support.in_process import InProcessTransport
assert "opentelemetry.trace" not in sys.modules
with bertqa.QAClient(transport=InProcessTransport()) as client:
    assert client.answer("Who?", "The Normans.").model_version == 1
    assert len(list(client.answer_many([("Who?", "The Normans.")] * 3))) == 3
assert ("opentelemetry.trace" in sys.modules) == {installed}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_log_is_quiet_unless_asked(
    open_client: Twins, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="bertqa"):
        open_client(transport=InProcessTransport()).answer("Who?", CONTEXT)
    assert not [record for record in caplog.records if record.name.startswith("bertqa")]
