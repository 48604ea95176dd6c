"""Series as Prometheus reads them of a release, and what its rules make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.chart import NAMESPACE, Manifest, render
from tests.support.promtool import evaluate

RULES: dict[str, Any] = {"monitoring": {"prometheusRule": {"enabled": True}}}


def rules(scenario: str = "monitoring", values: Manifest | None = None) -> Manifest:
    """The specification of a scenario's PrometheusRule."""
    spec: Manifest = render(scenario, {**RULES, **(values or {})}).one("PrometheusRule")["spec"]
    return spec


def alerts(scenario: str = "monitoring", values: Manifest | None = None) -> dict[str, Manifest]:
    """The alerts of a scenario, by their names."""
    groups = rules(scenario, values)["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@dataclass(frozen=True)
class Release:
    """Makes series of a release: of its metrics, and of its objects in kube-state-metrics."""

    name: str = "bert-qa"
    fullname: str = "bert-qa"
    namespace: str = NAMESPACE

    def metric(self, metric: str, values: str, **labels: str) -> Manifest:
        """A series of the release's own metrics."""
        return series(metric, values, namespace=self.namespace, release=self.name, **labels)

    def ovms(self, metric: str, values: str, **labels: str) -> Manifest:
        """A series of OVMS, which counts by model and version."""
        given = {"name": "bert-qa", "version": "2", "interface": "gRPC", **labels}
        return self.metric(metric, values, **given)

    def kube(self, metric: str, values: str, **labels: str) -> Manifest:
        """A series of kube-state-metrics; `-stable` stands for the object of that suffix."""
        named = {
            key: f"{self.fullname}{value}" if value.startswith("-") or not value else value
            for key, value in labels.items()
        }
        return series(metric, values, namespace=self.namespace, **named)


def series(metric: str, values: str, **labels: str) -> Manifest:
    """A series in the form of `promtool`."""
    inner = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{metric}{{{inner}}}", "values": values}


@dataclass(frozen=True)
class Alert:
    """An alert that is to fire: its own labels, and what it says."""

    name: str
    summary: str
    labels: dict[str, str] = field(default_factory=dict)
    description: str | None = None

    def expected(self, rule: Manifest) -> Manifest:
        """It in the form of `promtool`; a description without a template is the rule's own."""
        description = self.description or rule["annotations"]["description"]
        return {
            "exp_labels": {**self.labels, **rule["labels"]},
            "exp_annotations": {"summary": self.summary, "description": description},
        }


@dataclass(frozen=True)
class Case:
    """Series, and the alerts of one name that are to fire at a time."""

    name: str
    series: list[Manifest]
    fire: list[Alert] = field(default_factory=list)
    at: str = "40m"


def check(
    directory: Path,
    cases: list[Case],
    scenario: str = "monitoring",
    values: Manifest | None = None,
    interval: str = "1m",
) -> None:
    """Evaluate the alerts of the cases, and what is recorded for them, on the series of each."""
    found = alerts(scenario, values)
    named = {case.name for case in cases}
    burns = any("Budget" in name for name in named)
    needed = [
        rule
        for group in rules(scenario, values)["groups"]
        for rule in group["rules"]
        if rule.get("alert") in named or (burns and "record" in rule)
    ]
    tests = [
        {
            "interval": interval,
            "input_series": case.series,
            "alert_rule_test": [
                {
                    "alertname": case.name,
                    "eval_time": case.at,
                    "exp_alerts": [each.expected(found[case.name]) for each in case.fire],
                }
            ],
        }
        for case in cases
    ]
    evaluate(directory, tests, {"groups": [{"name": "needed", "rules": needed}]}, interval)
