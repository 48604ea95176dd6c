from __future__ import annotations

import math

import pytest

from bertqa_deploy.cluster.metrics import Counts, read_metrics, total

TEXT = """
# HELP ovms_requests_success Number of successful requests to a model or a DAG.
# TYPE ovms_requests_success counter
ovms_requests_success{api="KServe",interface="REST",method="ModelInfer",name="m",version="1"} 7
ovms_requests_success{api="KServe",interface="gRPC",method="ModelInfer",name="m",version="1"} 90
ovms_requests_success{api="KServe",interface="gRPC",method="ModelInfer",name="m",version="2"} 5
ovms_requests_success{api="KServe",interface="gRPC",method="ModelMetadata",name="m",version="1"} 40
ovms_requests_success{api="KServe",interface="gRPC",method="ModelReady",name="m"} 40
ovms_requests_fail{api="KServe",interface="REST",method="ModelInfer",name="m",version="1"} 3
ovms_request_time_us_bucket{interface="REST",name="m",version="1",le="1000"} 50
ovms_request_time_us_bucket{interface="REST",name="m",version="1",le="2000"} 90
ovms_request_time_us_bucket{interface="REST",name="m",version="1",le="4000"} 100
ovms_request_time_us_bucket{interface="REST",name="m",version="1",le="+Inf"} 100
ovms_request_time_us_bucket{interface="gRPC",name="m",version="2",le="+Inf"} 8
"""


def test_only_infer_requests_of_the_version_count() -> None:
    counts = read_metrics(TEXT, "m", "1")
    assert (counts.succeeded, counts.failed, counts.error_percent) == (97, 3, 3)


def test_the_percentile_is_interpolated_in_its_bucket() -> None:
    assert read_metrics(TEXT, "m", "1").p95_ms == pytest.approx(3.0)


def test_a_percentile_beyond_the_last_bound_is_that_bound() -> None:
    assert Counts(buckets={1000.0: 10, math.inf: 100}).p95_ms == 1.0


def test_without_requests_there_is_no_percentile() -> None:
    assert read_metrics(TEXT, "m", "3") == Counts()
    assert Counts().p95_ms is None
    assert Counts().error_percent == 0


def test_what_happened_between_two_readings() -> None:
    counts = read_metrics(TEXT, "m", "1")
    assert (counts - counts).requests == 0
    assert total([counts, counts]).requests == 200
    assert total([counts, counts]).p95_ms == counts.p95_ms


def test_a_pod_that_was_replaced_counts_from_zero() -> None:
    assert (Counts(succeeded=2) - Counts(succeeded=10)).succeeded == 0
