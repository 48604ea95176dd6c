"""Adding up what client, server and OpenVINO measured, with known times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bertqa.evaluation import Samples
from bertqa.profile import (
    Alone,
    Asked,
    Operations,
    OperationTime,
    ServerTimes,
    TimeSpan,
    profile,
    profile_page,
)

OPERATIONS = Operations(
    "bf16",
    requests=2,
    infer_ms=20.0,
    times=(
        OperationTime("FullyConnected", "brgemm_avx512_I8", "u8", 12, 9.0, 9.0),
        OperationTime("Add", "jit_avx512_bf16", "bf16", 6, 4.0, 4.0),
        OperationTime("FullyConnected", "jit_gemm_i8", "u8", 2, 3.0, 3.0),
    ),
)


def asked(**changes: float) -> Asked:
    """Four questions in two requests of two windows, of which each took 20 ms."""
    times = {
        "total_ms": 30.0,
        "tokenize_ms": 1.0,
        "decode_ms": 2.0,
        "away_ms": 26.0,
        "request_ms": 20.0,
        "requests_ms": 40.0,
        "collate_ms": 1.0,
        "client_cpu_ms": 4.0,
        **changes,
    }
    return Asked(4, 4, 0.1, (), 100.0, **times)


def named(span: TimeSpan) -> dict[str, float]:
    return {each.name: each.milliseconds for _, each in span.walk()}


def test_the_phases_of_a_question_add_up_to_its_time() -> None:
    server = ServerTimes(requests=2, infer_ms=16.0, queue_ms=12.0, whole_ms=32.0)

    found = profile(asked(), OPERATIONS, server)

    assert found.has_server_times
    times = named(found.question)
    assert times["tokenise"] == 1.0
    assert times["in the client"] == 5.0  # 26, less the request and the batch.
    assert times["for a stream"] == 6.0  # Both requests waited 12.
    assert times["infer"] == 8.0
    assert times["the server, but for the model"] == 2.0
    assert times["serialise and transfer"] == 4.0
    assert times["the client besides"] == 1.0
    assert sum(part.milliseconds for part in found.question.parts) == pytest.approx(30.0)
    assert times["queue"] == 11.0


def test_a_server_without_metrics_has_the_inference_of_this_process() -> None:
    for server in (None, ServerTimes()):
        found = profile(asked(), OPERATIONS, server)

        times = named(found.question)
        assert not found.has_server_times
        assert times["infer"] == 10.0
        assert times["serialise and transfer"] == 10.0
        assert "for a stream" not in times


def test_operations_are_parts_of_the_inference_by_kind_and_by_kernel() -> None:
    """OpenVINO took 20 ms, of which its operations count 16."""
    question = profile(asked(), OPERATIONS, None).question
    infer = next(part for part in question.parts if part.name == "infer")

    assert [(each.name, each.milliseconds) for each in infer.parts] == [
        ("FullyConnected", 6.0),
        ("Add", 2.0),
        ("between operations", 2.0),
    ]
    assert sum(each.milliseconds for each in infer.parts) == infer.milliseconds
    assert [each.name for each in infer.parts[0].parts] == ["brgemm_avx512_I8", "jit_gemm_i8"]


def test_the_page_has_a_bar_for_each_time_and_loads_nothing() -> None:
    question = profile(asked(), OPERATIONS, None).question

    page = profile_page("<model>", ["on a CPU"], question, OPERATIONS)

    assert page.count("<rect") == len(list(question.walk()))
    assert "&lt;model&gt;" in page
    assert "infer: 10.00 ms, 33.3%" in page
    assert "http" not in page
    assert "<td>between operations</td>" in page


def test_counters_of_more_than_the_inference_leave_nothing_between() -> None:
    fast = replace(OPERATIONS, infer_ms=12.0)
    assert (OPERATIONS.between_ms, OPERATIONS.whole_ms) == (4.0, 20.0)
    assert (fast.between_ms, fast.whole_ms) == (0.0, 16.0)


def test_the_overhead_has_a_range_and_a_busy_machine_is_seen() -> None:
    alone = Samples((0.010,) * 40)
    served = Samples((0.011,) * 8 + (0.012,) * 24 + (0.014,) * 8)
    steady = Alone(300, 4, served, alone)
    assert steady.overhead_range_ms == pytest.approx((1.0, 4.0))
    assert not steady.was_busy
    assert replace(steady, in_process=Samples((0.010,) * 32 + (0.013,) * 8)).was_busy
    once = Alone(300, 4, Samples((0.012,)), Samples((0.010,)))
    assert once.overhead_range_ms == pytest.approx((2.0, 2.0))
