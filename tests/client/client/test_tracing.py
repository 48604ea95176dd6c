from __future__ import annotations

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bertqa.client import _tracing as tracing
from tests.support.in_process import InProcessTransport
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


def test_the_log_is_quiet_unless_asked(
    open_client: Twins, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="bertqa"):
        open_client(transport=InProcessTransport()).answer("Who?", CONTEXT)
    assert not [record for record in caplog.records if record.name.startswith("bertqa")]
