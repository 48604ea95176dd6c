"""templates/prometheusrule.yaml: what is alerted on. Others evaluate it: test_alerts.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.helm.rules import Alert, Case, Release, alerts, check, rules
from tests.support.chart import render, server_config

OF_SERVERS = ["BertQARequestsFail", "BertQASlow", "BertQAQueueLong"]
OF_PODS = [
    "BertQAServiceDown",
    "BertQATrackDown",
    "BertQAHttpApiDown",
    "BertQANoEndpoints",
    "BertQAPodsMissing",
    "BertQAContainerRestarts",
    "BertQAMetricsMissing",
]
OF_PROXY = ["BertQAProxyFails"]
OF_OBJECTIVES = ["BertQABudgetBurnsFast", "BertQABudgetBurnsSlowly"]
ALL = [*OF_SERVERS, *OF_PODS, *OF_PROXY, *OF_OBJECTIVES]


@pytest.mark.parametrize(
    ("scenario", "absent"),
    [
        ("monitoring", set()),
        ("rollouts", set()),
        # Whoever reads the metrics there is not the chart's ServiceMonitor.
        ("tracks", {"BertQAMetricsMissing"}),
        ("kserve-standard", set()),
        # Knative scales to nothing, and its Services have no pods behind them then.
        ("kserve", {"BertQAServiceDown", "BertQANoEndpoints"}),
    ],
)
def test_each_way_to_run_it_has_the_alerts_that_can_fire(scenario: str, absent: set[str]) -> None:
    assert list(alerts(scenario)) == [name for name in ALL if name not in absent]
    without = alerts(scenario, {"httpApi": {"enabled": False}})
    assert set(alerts(scenario)) - set(without) == {"BertQAHttpApiDown"}


def test_each_describes_what_happened_and_what_to_do() -> None:
    for rule in alerts().values():
        assert rule["for"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith(".")
        assert re.search(r"\.({{ end }})?$", rule["annotations"]["description"])


def test_alerts_of_two_releases_are_two() -> None:
    for rule in alerts().values():
        assert {"namespace": "ml", "release": "bert-qa"}.items() <= rule["labels"].items()


def test_the_limits_are_those_that_were_given() -> None:
    limits = {"errorPercent": 2.5, "p95Milliseconds": 150, "queueMilliseconds": 40}
    found = alerts(values={"monitoring": {"prometheusRule": limits}})
    assert found["BertQARequestsFail"]["expr"].strip().endswith("> 2.5")
    assert found["BertQAProxyFails"]["expr"].strip().endswith("> 2.5")
    assert found["BertQASlow"]["expr"].strip().endswith("/ 1e6 > 0.15")
    assert found["BertQAQueueLong"]["expr"].strip().endswith("/ 1e6 > 0.04")


def test_they_read_metrics_of_this_model_in_this_release_that_are_switched_on() -> None:
    enabled = server_config(render("monitoring"))["monitoring"]["metrics"]["metrics_list"]
    for name, rule in alerts().items():
        read = re.findall(r"(ovms_\w+)\{([^}]*)\}", rule["expr"])
        assert bool(read) is (name in OF_SERVERS), name
        for metric, selector in read:
            assert re.sub("_(bucket|sum|count)$", "", metric) in enabled
            assert selector.startswith('namespace="ml", release="bert-qa", name="bert-qa"')


@pytest.mark.parametrize("scenario", ["monitoring", "rollouts", "kserve", "kserve-standard"])
def test_every_metric_of_the_release_is_chosen_by_its_label(scenario: str) -> None:
    for group in rules(scenario)["groups"]:
        for rule in group["rules"]:
            read = re.findall(r"\b((?:ovms|envoy|bertqa|up)\w*(?::\w+)*)\{([^}]*)\}", rule["expr"])
            assert read or "kube_" in rule["expr"] or rule["expr"].startswith("vector("), rule
            for _, selector in read:
                assert selector.startswith('namespace="ml", release="bert-qa"')


def test_metrics_that_others_read_are_those_of_the_namespace() -> None:
    for name in OF_SERVERS:
        assert "release=" not in alerts("tracks")[name]["expr"]
        assert '{namespace="ml", name="bert-qa"' in alerts("tracks")[name]["expr"]


@pytest.mark.parametrize(
    ("gateway", "http_api", "asked"),
    [
        (False, False, ["stable"]),
        (True, False, ["candidate", "stable"]),
        (False, True, ["candidate", "stable"]),
    ],
)
def test_a_track_that_users_ask_is_missed_within_a_minute(
    gateway: bool, http_api: bool, asked: list[str]
) -> None:
    values = {
        "httpApi": {"enabled": http_api},
        "monitoring": {"prometheusRule": {"enabled": True}},
        "gateway": {"enabled": gateway},
        "tracks": {"idle": {"version": 3, "weight": 0}},
    }
    found = alerts("tracks", values)
    assert found["BertQAServiceDown"]["for"] == "1m"
    for alert, tracks in (
        ("BertQAServiceDown", asked),
        ("BertQATrackDown", ["candidate", "idle", "stable"]),
    ):
        deployments = re.findall(r'deployment=~"(.+?)"', found[alert]["expr"])
        assert set(deployments) == {"|".join(f"bert-qa-{track}" for track in tracks)}


def test_pods_whose_names_kubernetes_cuts_are_found(tmp_path: Path) -> None:
    """A pod's name is cut to 58 letters and gets five more."""
    fullname, track = "a" * 40, "b" * 12
    tracks = {"stable": None, track: {"version": 1, "weight": 100}}
    values = {"fullnameOverride": fullname, "tracks": tracks}
    pod = f"{fullname}-{track}-65f8bc9f8d-"[:58] + "x7k2p"
    labels = {"pod": pod, "container": "ovms"}
    name = "BertQAContainerRestarts"
    summary = f"The container ovms of {pod} was restarted 5 times within an hour."
    series = [
        Release().kube("kube_pod_container_status_restarts_total", "0x20 1+1x4 5x40", **labels)
    ]
    check(tmp_path, [Case(name, series, [Alert(name, summary, labels)])], "pvc", values)
