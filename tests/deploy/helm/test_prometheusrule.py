"""templates/prometheusrule.yaml: a few alerts that matter."""

from __future__ import annotations

import re

import pytest

from tests.support.chart import Manifest, render, server_config


def alerts(values: Manifest | None = None) -> dict[str, Manifest]:
    (group,) = render("monitoring", values).one("PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_the_alerts_are_errors_latency_queue_and_what_is_down() -> None:
    assert list(alerts()) == [
        "BertQARequestsFail",
        "BertQASlow",
        "BertQAQueueLong",
        "BertQAServiceDown",
        "BertQATrackDown",
    ]


def test_each_describes_what_happened_and_what_to_do() -> None:
    for rule in alerts().values():
        assert rule["for"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["description"].endswith(".")


def test_the_limits_are_those_that_were_given() -> None:
    limits = {"errorPercent": 2.5, "p95Milliseconds": 150, "queueMilliseconds": 40}
    found = alerts({"monitoring": {"prometheusRule": limits}})
    assert found["BertQARequestsFail"]["expr"].strip().endswith("> 2.5")
    assert found["BertQASlow"]["expr"].strip().endswith("> 150")
    assert found["BertQAQueueLong"]["expr"].strip().endswith("> 40")


def test_they_read_metrics_of_this_model_in_this_namespace_that_are_switched_on() -> None:
    enabled = server_config(render("monitoring"))["monitoring"]["metrics"]["metrics_list"]
    for name, rule in alerts().items():
        read = re.findall(r"(ovms_\w+)\{([^}]*)\}", rule["expr"])
        assert bool(read) is (name not in {"BertQAServiceDown", "BertQATrackDown"}), name
        for metric, selector in read:
            assert re.sub("_(bucket|sum|count)$", "", metric) in enabled
            assert 'namespace="ml"' in selector
            assert 'name="bert-qa"' in selector


@pytest.mark.parametrize(("gateway", "asked"), [(False, "stable"), (True, "candidate|stable")])
def test_a_track_that_users_ask_is_missed_within_a_minute(gateway: bool, asked: str) -> None:
    values = {
        "monitoring": {"prometheusRule": {"enabled": True}},
        "gateway": {"enabled": gateway},
        "tracks": {"idle": {"version": 3, "weight": 0}},
    }
    (group,) = render("tracks", values).one("PrometheusRule")["spec"]["groups"]
    found = {rule["alert"]: rule for rule in group["rules"]}
    assert found["BertQAServiceDown"]["for"] == "1m"
    for alert, tracks in (
        ("BertQAServiceDown", asked),
        ("BertQATrackDown", "candidate|idle|stable"),
    ):
        deployments = re.findall(r'deployment=~"(.+?)"', found[alert]["expr"])
        assert set(deployments) == {f"bert-qa-({tracks})"}


def test_parentheses_and_braces_are_closed() -> None:
    for rule in alerts().values():
        for opening, closing in ("()", "{}", "[]"):
            assert rule["expr"].count(opening) == rule["expr"].count(closing)
