"""templates/prometheusrule.yaml: a few alerts that matter."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

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
        "BertQAHttpApiDown",
    ]
    assert "BertQAHttpApiDown" not in alerts({"httpApi": {"enabled": False}})


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
        assert bool(read) is (not name.endswith("Down")), name
        for metric, selector in read:
            assert re.sub("_(bucket|sum|count)$", "", metric) in enabled
            assert 'namespace="ml"' in selector
            assert 'name="bert-qa"' in selector


@pytest.mark.parametrize(
    ("gateway", "http_api", "asked"),
    [
        (False, False, "stable"),
        (True, False, "candidate|stable"),
        (False, True, "candidate|stable"),
    ],
)
def test_a_track_that_users_ask_is_missed_within_a_minute(
    gateway: bool, http_api: bool, asked: str
) -> None:
    values = {
        "httpApi": {"enabled": http_api},
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


OLD, NEW = "bert-qa-stable-5d9f", "bert-qa-stable-7c4b"


def replica_set(name: str, wanted: str, ready: str) -> list[Manifest]:
    """Return what kube-state-metrics shows of a ReplicaSet, minute by minute."""
    labels = f'{{namespace="ml", replicaset="{name}"}}'
    return [
        {"series": f"kube_replicaset_spec_replicas{labels}", "values": wanted},
        {"series": f"kube_replicaset_status_ready_replicas{labels}", "values": ready},
    ]


@pytest.mark.parametrize(
    ("old", "new", "down"),
    [
        pytest.param(("3x20", "3x20"), ("1x20", "1x20"), [], id="both serve"),
        pytest.param(("3x20", "3x20"), ("1x20", "0x20"), [], id="the new one starts"),
        pytest.param(("3x20", "3x20"), ("1x10 0x10", "1x10 0x10"), [], id="the new one is aborted"),
        pytest.param(("3x20", "3x15 0x5"), ("1x20", "1x20"), [OLD], id="the old one is down"),
        pytest.param(("3x20", "3x20"), ("1x20", "1x15 0x5"), [NEW], id="the new one is down"),
        pytest.param(("3x20", "3x5 0x15"), ("0x20", "0x20"), [""], id="all is down"),
    ],
)
def test_under_argo_rollouts_each_role_is_missed_for_itself(
    tmp_path: Path, old: tuple[str, str], new: tuple[str, str], down: list[str]
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH")
    values = {"monitoring": {"prometheusRule": {"enabled": True}}}
    spec = render("rollouts", values).one("PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    expected = [
        {
            "exp_labels": {
                "severity": "critical",
                **({"namespace": "ml", "replicaset": name} if name else {}),
            },
            "exp_annotations": {
                "summary": f"No pod of {name or 'bert-qa-stable'} is ready, to which users' "
                "requests go.",
                "description": "Give the traffic to a track whose pods are ready, then see the "
                "pods' events and the server's log.",
            },
        }
        for name in down
    ]
    test = {
        "rule_files": [str(tmp_path / "rules.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [*replica_set(OLD, *old), *replica_set(NEW, *new)],
                "alert_rule_test": [
                    {"alertname": "BertQAServiceDown", "eval_time": "19m", "exp_alerts": expected}
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")
    checked = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
