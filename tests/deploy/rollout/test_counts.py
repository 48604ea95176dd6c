from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bertqa_deploy.errors import MetricMissingError
from bertqa_deploy.rollout import Counts, Restarts, Tally, counts_of
from bertqa_deploy.rollout._counts import total

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


def read_metrics(text: str, model: str, version: str) -> Counts:
    families = text_string_to_metric_families(text)
    return counts_of((sample for each in families for sample in each.samples), model, version)


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
    assert counts.increase_since(counts).requests == 0
    more = counts.increase_since(Counts(succeeded=90, failed=1, buckets={1000.0: 40}))
    assert (more.succeeded, more.failed, more.buckets[1000.0]) == (7, 2, 10)
    assert total([counts, counts]).requests == 200
    assert total([counts, counts]).p95_ms == counts.p95_ms


@pytest.mark.parametrize(
    "before",
    [
        Counts(succeeded=10, failed=0),
        Counts(succeeded=0, failed=9),
        Counts(succeeded=2, failed=3, buckets={1000.0: 6, math.inf: 10}),
    ],
)
def test_a_server_that_restarted_has_counted_all_that_it_has_now(before: Counts) -> None:
    now = Counts(succeeded=2, failed=3, buckets={1000.0: 4, math.inf: 5})

    assert now.increase_since(before) == now


def test_the_failures_of_a_restarted_server_are_seen_beside_those_of_the_others() -> None:
    track = Tally({"a": Counts(100, 5), "b": Counts(100, 0)})

    track.add({"a": Counts(110, 5), "b": Counts(120, 0)})
    assert (track.total.succeeded, track.total.failed) == (30, 0)

    track.add({"a": Counts(1, 4), "b": Counts(125, 0)})
    assert (track.total.succeeded, track.total.failed) == (36, 4)

    track.add({"a": Counts(1, 6), "b": Counts(125, 0)})
    assert (track.total.succeeded, track.total.failed) == (36, 6)


def test_a_server_that_replaced_another_counts_from_zero() -> None:
    track = Tally({"a": Counts(100, 0)})
    track.add({"a": Counts(107, 2)})
    track.add({"b": Counts(5, 1)})

    assert track.total == Counts(12, 3)


def test_a_server_that_is_away_at_one_look_is_compared_with_its_last_reading() -> None:
    track = Tally({"a": Counts(100, 0)})
    track.add({})
    track.add({"a": Counts(104, 1)})

    assert track.total == Counts(4, 1)


def test_restarts_since_the_first_reading_are_named() -> None:
    track = Tally({"a": Counts(restarts=3)})
    track.add({"a": Counts(restarts=3)})
    assert track.restarts == set()

    track.add({"a": Counts(restarts=4), "b": Counts(restarts=1)})
    assert track.restarts == {"a", "b"}


@pytest.mark.parametrize("name", ["requests_success", "requests_fail", "request_time_us"])
def test_a_metric_that_is_absent_is_named(name: str) -> None:
    text = "\n".join(line for line in TEXT.splitlines() if f"ovms_{name}" not in line)
    with pytest.raises(MetricMissingError, match=f"lack ovms_{name}, so m cannot be judged"):
        read_metrics(text, "m", "1")


def samples(text: str) -> list[Sample]:
    return [each for family in text_string_to_metric_families(text) for each in family.samples]


def test_counters_that_fall_show_that_a_server_restarted() -> None:
    restarts = Restarts("m")
    assert [restarts.until(samples(TEXT)) for _ in range(2)] == [0, 0]
    assert restarts.until(samples(TEXT.replace("} 90", "} 91"))) == 0
    again = TEXT.replace('version="1"} 7', 'version="1"} 0')
    assert restarts.until(samples(again)) == 1
    assert restarts.until(samples(again)) == 1


def test_what_happens_to_other_models_does_not_count_as_a_restart() -> None:
    restarts = Restarts("another")
    assert restarts.until(samples(TEXT)) == 0
    assert restarts.until(samples(TEXT.replace('version="1"} 7', 'version="1"} 0'))) == 0
    assert restarts.until([]) == 0


def test_the_requests_that_took_longer_are_counted_within_a_bucket() -> None:
    counts = Counts(buckets={1000.0: 10, 3000.0: 30, math.inf: 32})
    slower = [counts.slower_than(ms) for ms in (0.0, 0.5, 1, 2, 3, 100)]
    assert slower == [32, 27, 22, 12, 2, 2]
    assert Counts().slower_than(1) == 0
    assert counts.timed == 32


def test_any_share_of_the_requests_has_its_time() -> None:
    counts = Counts(buckets={1000.0: 0, 2000.0: 10, 4000.0: 10, math.inf: 10})
    assert [counts.quantile_ms(share) for share in (0.0, 0.5, 1.0)] == [1.0, 1.5, 2.0]
