"""Profiling a toy version: in this process, and on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertqa.artifact import ATTENTION_MASK, INPUT_IDS
from bertqa.errors import ModelLoadError, VersionNotFoundError
from bertqa.profile import Operations, ask, server_times, text_of, time_alone
from bertqa.transport import (
    AdminClient,
    AsyncTransport,
    Security,
    TransportOptions,
    open_async_transport,
    open_transport,
    rest_address,
)
from tests.support.engines import Served, toy_server

BRIDGE = "The bridge was opened in 1932 after four years of work."
PAIRS = [
    ("When was it opened?", BRIDGE),
    ("How long did it take?", BRIDGE),
    ("Who was it?", "It was Anna Berg, who had built three of them before."),
]


def options(served: Served) -> TransportOptions:
    return {
        "model": "bert-qa",
        "metadata_url": served.rest_url,
        "learns": True,
        "security": Security(),
    }


def test_each_question_is_timed_and_the_server_says_what_it_took(tmp_path: Path) -> None:
    with toy_server("local", tmp_path, 1, 2) as served:

        def opened() -> AsyncTransport:
            return open_async_transport(served.grpc_url, options(served))

        begun = []
        with AdminClient(rest_address(served.rest_url)) as admin:
            found = ask(
                opened,
                PAIRS * 4,
                version=1,
                at_once=3,
                timeout=30.0,
                on_begin=lambda: begun.append(server_times(admin, "bert-qa", 1)),
            )
            after = server_times(admin, "bert-qa", 1)
            assert server_times(admin, "another", 1) is None

    assert (found.questions, found.windows) == (12, 12)
    assert sum(len(batch[INPUT_IDS]) for batch in found.batches) == 12
    assert found.total_ms >= found.tokenize_ms + found.away_ms + found.decode_ms
    assert 0 < found.request_ms <= found.away_ms
    assert found.requests_ms >= found.request_ms
    assert 0 <= found.padding < 1
    assert after is not None
    assert begun[0] is not None
    grown = after.since(begun[0])
    assert grown.requests == len(found.batches)
    assert grown.whole_ms >= grown.infer_ms > 0


def test_a_server_without_metrics_says_nothing(tmp_path: Path) -> None:
    with (
        toy_server("local", tmp_path, 1, counts=False) as served,
        AdminClient(rest_address(served.rest_url)) as admin,
    ):
        assert server_times(admin, "bert-qa", 1) is None


def test_a_question_that_is_not_answered_ends_it(tmp_path: Path) -> None:
    with toy_server("local", tmp_path, 1) as served, pytest.raises(VersionNotFoundError):
        ask(
            lambda: open_async_transport(served.grpc_url, options(served)),
            PAIRS,
            version=7,
            at_once=2,
            timeout=5.0,
        )


def test_every_operation_is_counted_for_each_batch_of_one_pass(tmp_path: Path) -> None:
    with toy_server("local", tmp_path, 1) as served:
        found = ask(
            lambda: open_async_transport(served.grpc_url, options(served)),
            PAIRS,
            version=1,
            at_once=1,
            timeout=30.0,
        )
    model = tmp_path / "bert-qa" / "1" / "model.xml"

    counted = Operations.measured(
        model, found.batches, {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2"}
    )

    assert counted.requests == len(found.batches) == 3
    assert counted.infer_ms > 0
    # What takes less than a microsecond counts as not run.
    assert all(each.runs for each in counted.times)
    assert all(each.kernel for each in counted.times)
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    assert Operations.measured(model, found.batches, hint).precision == "f32"


def test_a_model_that_openvino_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("nothing", encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"model\.xml"):
        Operations.measured(tmp_path / "model.xml", [], {})


def test_one_question_alone_is_timed_in_turns_with_the_same_windows(tmp_path: Path) -> None:
    pair = text_of(PAIRS * 100, words=15)
    assert pair == (PAIRS[0][0], f"{BRIDGE} It was Anna Berg,")
    with toy_server("local", tmp_path, 1) as served:
        transport = open_transport(served.grpc_url, options(served))
        found = time_alone(
            transport, pair, tmp_path / "bert-qa" / "1" / "model.xml", {}, version=1, turns=3
        )
        transport.close()

    assert (found.words, found.windows) == (15, 1)
    assert len(found.served.values) == len(found.in_process.values) == 3
    assert found.overhead_ms(0.5) == pytest.approx(
        1000 * (found.served.median - found.in_process.median)
    )


def test_padding_is_what_the_attention_mask_hides(tmp_path: Path) -> None:
    with toy_server("local", tmp_path, 1) as served:
        found = ask(
            lambda: open_async_transport(served.grpc_url, options(served)),
            PAIRS[:1],
            version=None,
            at_once=1,
            timeout=30.0,
        )
    (batch,) = found.batches
    real = batch[ATTENTION_MASK].sum() / batch[ATTENTION_MASK].size
    assert found.padding == pytest.approx(1 - real)
