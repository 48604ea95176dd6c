"""templates/_objectives.tpl: what is recorded, and how fast it may go, evaluated by Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.helm.rules import Alert, Case, Release, alerts, check, rules
from tests.support.chart import Manifest, refusal
from tests.support.promtool import check_rules, evaluate

FAST, SLOWLY = "BertQABudgetBurnsFast", "BertQABudgetBurnsSlowly"
LATENCY = "See whether they wait or compute (queue, inference), and add replicas."
ERRORS = (
    "See which fail and why (errors, proxy), and return the traffic of a new version to the one "
    "before."
)


def burning(name: str, part: str, objective: str, times: str) -> Alert:
    what = "Slow" if objective == "latency" else "Failed"
    return Alert(
        name,
        f"{what} requests to the {part} of release bert-qa use up the budget of its objective "
        f"{times} times as fast as that allows.",
        {"part": part, "objective": objective},
        LATENCY if objective == "latency" else ERRORS,
    )


def growing(per_minute: float, minutes: int = 70) -> str:
    return f"0+{per_minute}x{minutes}"


def answered(release: Release, code: str, values: str, listener: str = "rest") -> Manifest:
    labels = {"envoy_http_conn_manager_prefix": listener, "envoy_response_code_class": code}
    return release.metric("envoy_http_downstream_rq_xx", values, **labels)


def called(release: Release, status: str, values: str) -> Manifest:
    labels = {"envoy_cluster_name": "ovms_grpc", "envoy_grpc_status": status}
    return release.metric("envoy_cluster_grpc", values, **labels)


def over_rest(release: Release, bad: float) -> list[Manifest]:
    return [
        answered(release, "2", growing(1000 - bad)),
        answered(release, "5", growing(bad)),
        answered(release, "5", growing(0), "grpc"),
    ]


def over_grpc(release: Release, bad: float, status: str = "14") -> list[Manifest]:
    return [
        answered(release, "2", growing(1000), "grpc"),
        answered(release, "5", growing(0), "grpc"),
        called(release, "0", growing(1000 - bad)),
        called(release, status, growing(bad)),
    ]


def over_http(release: Release, bad: float, status: str = "503") -> list[Manifest]:
    labels = {"endpoint": "/v1/answers", "method": "POST"}
    return [
        release.metric("bertqa_http_requests_total", growing(number), status=code, **labels)
        for code, number in (("200", 1000 - bad), (status, bad))
        if number
    ]


def histogram(release: Release, name: str, bad: float, bound: str, **labels: str) -> list[Manifest]:
    return [
        release.metric(f"{name}_bucket", growing(1000 - bad), le=bound, **labels),
        release.metric(f"{name}_bucket", growing(1000), le="+Inf", **labels),
        release.metric(f"{name}_count", growing(1000), **labels),
    ]


def slow_servers(release: Release, bad: float, bound: str = "1000") -> list[Manifest]:
    name = "envoy_cluster_upstream_rq_time"
    return histogram(release, name, bad, bound, envoy_cluster_name="ovms_grpc")


def slow_http(release: Release, bad: float) -> list[Manifest]:
    return histogram(release, "bertqa_http_request_seconds", bad, "1.0", endpoint="/v1/answers")


HEALTHY = [
    *over_rest(Release(), 0),
    *over_http(Release(), 0),
    *slow_servers(Release(), 0),
    *slow_http(Release(), 0),
]


@pytest.mark.parametrize(
    ("series", "alert"),
    [
        (over_rest(Release(), 20), burning(FAST, "servers", "availability", "20.0")),
        (over_grpc(Release(), 20), burning(FAST, "servers", "availability", "20.0")),
        (over_http(Release(), 20), burning(FAST, "http-api", "availability", "20.0")),
        (slow_servers(Release(), 250), burning(FAST, "servers", "latency", "25.0")),
        (slow_servers(Release(), 250, "1000.0"), burning(FAST, "servers", "latency", "25.0")),
        (slow_http(Release(), 250), burning(FAST, "http-api", "latency", "25.0")),
        # Below 14.4 in an hour, above 6 in six.
        (over_rest(Release(), 8), burning(FAST, "servers", "availability", "8.0")),
        (over_rest(Release(), 4), burning(SLOWLY, "servers", "availability", "4.0")),
        # Below 3 in a day, above 1 in three.
        (over_http(Release(), 2), burning(SLOWLY, "http-api", "availability", "2.0")),
        (slow_http(Release(), 20), burning(SLOWLY, "http-api", "latency", "2.0")),
    ],
)
def test_a_budget_that_goes_too_fast_is_noticed(
    tmp_path: Path, series: list[Manifest], alert: Alert
) -> None:
    check(tmp_path, [Case(alert.name, series, [alert], at="60m")])


def test_what_is_not_the_fault_of_the_service_is_not_held_against_it(tmp_path: Path) -> None:
    neighbours = (Release("bert-qa-2"), Release(namespace="other"))
    cases = [
        HEALTHY,
        [],
        over_grpc(Release(), 500, "3"),  # invalid argument
        over_grpc(Release(), 500, "8"),  # too large
        over_http(Release(), 500, "422"),
        over_http(Release(), 500, "499"),  # hung up
        over_rest(Release(), 0.5),
        *([*HEALTHY, *over_rest(other, 500), *over_http(other, 500)] for other in neighbours),
    ]
    every = [Case(name, series, at="60m") for series in cases for name in (FAST, SLOWLY)]
    check(tmp_path, every, interval="2m")


def test_what_is_over_is_silent(tmp_path: Path) -> None:
    ended = [
        answered(Release(), "2", "0+1000x120"),
        answered(Release(), "5", "0x60 0+1000x10 10000x50"),
    ]
    burns = Alert(
        FAST,
        "Failed requests to the servers of release bert-qa use up the budget of its objective "
        "130.4 times as fast as that allows.",
        {"part": "servers", "objective": "availability"},
        ERRORS,
    )
    cases = [Case(FAST, ended, [burns], at="70m"), Case(FAST, ended, at="110m")]
    check(tmp_path, cases)


def test_the_objectives_are_those_that_were_given(tmp_path: Path) -> None:
    objective = {"availabilityPercent": 99, "latencyPercent": 97.5, "latencyMilliseconds": 250}
    values = {"monitoring": {"prometheusRule": {"enabled": True, "objective": objective}}}
    spec = rules("monitoring", values)
    expected = {
        'bertqa:error_budget:ratio{objective="availability"}': 0.01,
        'bertqa:error_budget:ratio{objective="latency"}': 0.025,
        'bertqa:bad_requests:ratio_rate5m{part="servers", objective="latency"}': 0.25,
    }
    test = {
        "interval": "1m",
        "input_series": slow_servers(Release(), 250, "250"),
        "promql_expr_test": [
            {
                "expr": f"sum({expression})",
                "eval_time": "20m",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for expression, value in expected.items()
        ],
    }
    evaluate(tmp_path, [test], spec)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("availabilityPercent", 100),
        ("availabilityPercent", 90),
        ("latencyPercent", 100),
        ("latencyMilliseconds", 300),
    ],
)
def test_an_objective_that_cannot_be_measured_is_refused(key: str, value: float) -> None:
    assert key in refusal({"monitoring": {"prometheusRule": {"objective": {key: value}}}})


def test_without_the_http_api_there_are_objectives_of_the_servers_alone() -> None:
    spec = rules("monitoring", {"httpApi": {"enabled": False}})
    parts = {
        rule["labels"].get("part")
        for group in spec["groups"]
        for rule in group["rules"]
        if rule.get("record", "").startswith("bertqa:bad_requests")
    }
    assert parts == {"servers"}
    assert {FAST, SLOWLY} <= set(alerts())


@pytest.mark.parametrize("scenario", ["monitoring", "rollouts", "kserve", "kserve-standard"])
def test_prometheus_takes_the_rules(tmp_path: Path, scenario: str) -> None:
    check_rules(tmp_path, rules(scenario))
