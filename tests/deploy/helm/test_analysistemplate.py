"""templates/analysistemplate.yaml: how a new version is judged, by Prometheus where it is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import promql_parser
import pytest

from tests.support.chart import Manifest, render, server_config
from tests.support.promtool import evaluate

Phase = Literal["Successful", "Failed", "Inconclusive"]

ERRORS, BEYOND_CHANCE, LATENCY = "error-percent", "error-percent-beyond-chance", "p95-factor"
CANARY, STABLE = "6f4b", "79cd"
MINUTES = 10


def metrics(values: dict[str, Any] | None = None) -> dict[str, Manifest]:
    return {
        metric["name"]: metric
        for template in render("rollouts", values).all("AnalysisTemplate")
        for metric in template["spec"]["metrics"]
    }


def query(name: str, values: dict[str, Any] | None = None) -> str:
    """The query of a metric with the arguments filled in, as Argo Rollouts does it."""
    text: str = metrics(values)[name]["provider"]["prometheus"]["query"]
    return text.replace("{{args.canary-hash}}", CANARY).replace("{{args.stable-hash}}", STABLE)


def phase(metric: Manifest, result: list[float]) -> Phase:
    """What Argo Rollouts makes of a result: its conditions are Python's but for two operators."""

    def holds(condition: str) -> bool:
        python = condition.replace("&&", "and").replace("false", "False")
        return bool(eval(python, {"len": len, "result": result}))

    if holds(metric["failureCondition"]):
        return "Failed"
    return "Successful" if holds(metric["successCondition"]) else "Inconclusive"


def test_every_query_is_promql() -> None:
    for name in metrics():
        assert isinstance(promql_parser.parse(query(name)), promql_parser.BinaryExpr)


def test_the_arguments_are_those_that_the_queries_name() -> None:
    for template in render("rollouts").all("AnalysisTemplate"):
        declared = {arg["name"] for arg in template["spec"]["args"]}
        for metric in template["spec"]["metrics"]:
            text = metric["provider"]["prometheus"]["query"]
            assert set(re.findall(r"{{args\.([^}]+)}}", text)) == declared


def test_they_read_metrics_that_are_switched_on_of_one_replica_set_each() -> None:
    rendering = render("rollouts")
    enabled = server_config(rendering)["monitoring"]["metrics"]["metrics_list"]
    labels = rendering.one("ServiceMonitor")["spec"]["podTargetLabels"]
    assert "rollouts-pod-template-hash" in labels
    assert render("monitoring").one("ServiceMonitor")["spec"]["podTargetLabels"] == [
        "bert-qa/track"
    ]
    for name in metrics():
        read = re.findall(r"(ovms_\w+)\{([^}]*)\}", query(name))
        assert read
        for metric, selector in read:
            assert metric.removesuffix("_bucket") in enabled
            chosen = dict(re.findall(r'(\w+)="([^"]*)"', selector))
            assert chosen["namespace"] == "ml"
            assert chosen["release"] == "bert-qa"
            assert chosen["name"] == "bert-qa"
            assert chosen["rollouts_pod_template_hash"] in {CANARY, STABLE}
            assert metric.endswith("_bucket") or chosen["method"] == "ModelInfer"


def test_no_result_is_inconclusive_for_every_metric() -> None:
    for metric in metrics().values():
        assert phase(metric, []) == "Inconclusive"
        assert phase(metric, [float("nan")]) == "Inconclusive"


def test_a_metric_without_one_measurement_that_has_evidence_cannot_succeed() -> None:
    for values in ({}, {"rollouts": {"pauseSeconds": 30}}, {"rollouts": {"intervalSeconds": 7}}):
        for metric in metrics(values).values():
            assert metric["inconclusiveLimit"] == metric["count"] - 1
            assert metric["count"] >= 1


def test_a_canary_is_held_and_judged_for_as_long_as_the_pause() -> None:
    values = {"rollouts": {"pauseSeconds": 600, "intervalSeconds": 60, "failureLimit": 2}}
    for metric in metrics(values).values():
        assert (metric["initialDelay"], metric["interval"], metric["count"]) == ("60s", "60s", 10)
        assert metric["failureLimit"] == 2
        assert "[600s]" in metric["provider"]["prometheus"]["query"]
    for metric in metrics().values():
        assert (metric["initialDelay"], metric["interval"], metric["count"]) == ("30s", "30s", 4)
        assert metric["failureLimit"] == 0


def test_the_limits_are_those_of_bert_qa_switch_unless_others_are_given() -> None:
    default = metrics()
    assert phase(default[ERRORS], [1.0]) == "Successful"
    assert phase(default[ERRORS], [1.1]) == "Inconclusive"
    assert phase(default[BEYOND_CHANCE], [1.0]) == "Successful"
    assert phase(default[BEYOND_CHANCE], [1.1]) == "Failed"
    assert phase(default[LATENCY], [1.5]) == "Successful"
    assert phase(default[LATENCY], [1.6]) == "Failed"
    others = metrics({"rollouts": {"errorPercent": 2.5, "p95Factor": 3, "requests": 1000000}})
    assert phase(others[BEYOND_CHANCE], [2.4]) == "Successful"
    assert phase(others[BEYOND_CHANCE], [2.6]) == "Failed"
    assert phase(others[LATENCY], [2.9]) == "Successful"
    for metric in others.values():
        assert ">= 1000000\n" in metric["provider"]["prometheus"]["query"]


def test_prometheus_is_asked_where_it_is() -> None:
    values = {"rollouts": {"prometheus": "https://prometheus.example"}}
    for metric in metrics(values).values():
        assert metric["provider"]["prometheus"]["address"] == "https://prometheus.example"


def counter(name: str, pods: str, per_minute: float, pod: str = "a", **labels: str) -> Manifest:
    """A series that grows evenly, read every 15 seconds."""
    given = {
        "namespace": "ml",
        "release": "bert-qa",
        "name": "bert-qa",
        "pod": pod,
        "rollouts_pod_template_hash": pods,
        **labels,
    }
    inner = ", ".join(f'{key}="{value}"' for key, value in given.items())
    return {"series": f"{name}{{{inner}}}", "values": f"0+{per_minute / 4}x{MINUTES * 4}"}


def requests(pods: str, good: float, bad: float, pod: str = "a") -> list[Manifest]:
    """The requests of one pod in each two minutes, over either protocol."""
    return [
        counter(f"ovms_requests_{name}", pods, share, pod, method=method, interface=interface)
        for name, number in (("success", good), ("fail", bad))
        for interface, share in (("gRPC", number / 2 * 0.75), ("REST", number / 2 * 0.25))
        for method in ("ModelInfer", "ModelMetadata")
    ]


def times(pods: str, milliseconds: int) -> list[Manifest]:
    """The times of a pod's requests, all in one bucket."""
    bounds = (10_000, 20_000, 40_000, 80_000)
    return [
        counter(
            "ovms_request_time_us_bucket",
            pods,
            100 if bound == "+Inf" or milliseconds * 1000 <= int(bound) else 0,
            interface="gRPC",
            le=bound,
        )
        for bound in (*map(str, bounds), "+Inf")
    ]


def measured(directory: Path, name: str, series: list[Manifest], expected: float | None) -> None:
    """Check the result of a metric's query on these series with Prometheus's own evaluation."""
    test = {
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": f"round({query(name)}, 0.01)",
                "eval_time": f"{MINUTES}m",
                "exp_samples": [] if expected is None else [{"labels": "{}", "value": expected}],
            }
        ],
    }
    evaluate(directory, [test])


def test_failed_requests_are_a_share_of_all_pods_of_the_canary(tmp_path: Path) -> None:
    series = [*requests(CANARY, 60, 2), *requests(CANARY, 36, 2, pod="b")]
    series += requests(STABLE, 0, 500)
    measured(tmp_path, ERRORS, series, 4)


def test_requests_of_another_release_are_not_counted(tmp_path: Path) -> None:
    others = [
        {**one, "series": one["series"].replace('release="bert-qa"', 'release="bert-qa-2"')}
        for one in requests(CANARY, 0, 500)
    ]
    measured(tmp_path, ERRORS, [*requests(CANARY, 96, 4), *others], 4)


def test_requests_that_all_fail_are_a_hundred_percent(tmp_path: Path) -> None:
    measured(tmp_path, ERRORS, requests(CANARY, 0, 40), 100)


@pytest.mark.parametrize("name", [ERRORS, BEYOND_CHANCE])
def test_too_few_requests_have_no_result(tmp_path: Path, name: str) -> None:
    measured(tmp_path, name, requests(CANARY, 0, 19), None)


@pytest.mark.parametrize("name", [ERRORS, BEYOND_CHANCE, LATENCY])
@pytest.mark.parametrize("there", [True, False])
def test_no_request_and_no_metric_have_no_result(tmp_path: Path, name: str, there: bool) -> None:
    canary = [*requests(CANARY, 0, 0), *times(CANARY, 0)] if there else []
    measured(tmp_path, name, [*canary, *requests(STABLE, 900, 0), *times(STABLE, 15)], None)


@pytest.mark.parametrize(
    ("good", "bad", "least"),
    [
        (40, 0, 0),  # none of 40
        (19, 1, 0.89),  # one of 20: chance at a limit of 1 %
        (18, 2, 2.79),  # two of 20 are not
        (0, 20, 83.89),
        (980, 20, 1.3),
    ],
)
def test_one_failed_request_is_chance_and_many_are_not(
    tmp_path: Path, good: int, bad: int, least: float
) -> None:
    measured(tmp_path, BEYOND_CHANCE, requests(CANARY, good, bad), least)
    expected = "Failed" if least > 1 else "Successful"
    assert phase(metrics()[BEYOND_CHANCE], [least]) == expected


def test_latency_is_compared_with_the_stable_version(tmp_path: Path) -> None:
    series = [*requests(CANARY, 50, 0), *requests(STABLE, 500, 0)]
    series += [*times(CANARY, 30), *times(STABLE, 15)]
    # The 95th percentile within a bucket: 20 + 0.95 * 20 against 10 + 0.95 * 10 milliseconds.
    measured(tmp_path, LATENCY, series, 2)


def test_latency_is_not_compared_with_a_stable_version_that_is_hardly_asked(
    tmp_path: Path,
) -> None:
    series = [*requests(CANARY, 500, 0), *requests(STABLE, 19, 0)]
    measured(tmp_path, LATENCY, [*series, *times(CANARY, 30), *times(STABLE, 15)], None)
