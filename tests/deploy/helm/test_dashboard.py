"""templates/dashboard.yaml: the Grafana dashboard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa_serve.http_api.metrics import Metrics
from tests.deploy.helm.rules import rules
from tests.support.chart import Manifest, render, server_config
from tests.support.promtool import check_rules

ON_DASHBOARD = {"monitoring": {"dashboard": {"enabled": True}}}


def dashboard(scenario: str = "monitoring", values: Manifest | None = None) -> Manifest:
    given = {**ON_DASHBOARD, **(values or {})}
    name = (values or {}).get("fullnameOverride", "bert-qa")
    config = render(scenario, given).one("ConfigMap", f"{name}-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    (content,) = config["data"].values()
    loaded: Manifest = json.loads(content)
    return loaded


def panels() -> dict[str, Manifest]:
    """The panels by their titles, without the rows over them."""
    return {one["title"]: one for one in dashboard()["panels"] if one["type"] != "row"}


def queries() -> Iterator[tuple[str, str]]:
    """Each query with its panel, as Grafana sends it for the release of the tests."""
    values = {
        "$namespace": "ml",
        "$release": "bert-qa",
        "$model": "bert-qa",
        "$__rate_interval": "5m",
    }
    for title, panel in panels().items():
        for target in panel["targets"]:
            query = target["expr"]
            for variable, value in values.items():
                query = query.replace(variable, value)
            yield title, query


def read(prefix: str) -> set[str]:
    """The metrics of a prefix that the queries read."""
    return {
        metric for _, query in queries() for metric in re.findall(rf"\b{prefix}[\w:]+(?={{)", query)
    }


def test_it_shows_objectives_the_http_api_servers_and_the_proxy() -> None:
    rows = [one["title"] for one in dashboard()["panels"] if one["type"] == "row"]
    assert rows == ["Objectives", "HTTP API", "Servers", "Proxy"]
    shown = panels()
    assert {"Requests", "Errors", "Latency", "Queue"} <= set(shown)
    assert {"Burn rate", "HTTP requests", "HTTP phases", "Split", "Proxy failures"} <= set(shown)
    for panel in shown.values():
        for target in panel["targets"]:
            metrics_of_ovms = "ovms_" in target["expr"].replace("ovms_grpc|ovms_rest", "")
            assert ("{{version}}" in target["legendFormat"]) is (
                metrics_of_ovms or panel["title"] == "Split"
            )


def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    recorded = [
        {"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(queries())
    ]
    assert len(recorded) > 20
    check_rules(tmp_path, {"groups": [{"name": "queries", "rules": recorded}]})


def test_it_reads_metrics_that_are_there() -> None:
    enabled = server_config(render("monitoring"))["monitoring"]["metrics"]["metrics_list"]
    of_ovms = {re.sub("_(bucket|sum|count)$", "", one) for one in read("ovms_")}
    assert of_ovms
    assert of_ovms <= set(enabled)
    metrics = Metrics()
    metrics.request("/v1/answers", "POST", 200, 0.1)
    metrics.read(0.1)
    exposed = set(re.findall(r"^(\w+)", metrics.text({"1": 100}).decode(), re.MULTILINE))
    assert "bertqa_http_split_percent" in read("bertqa_http_")
    assert read("bertqa_http_") <= exposed
    recorded = {rule.get("record") for group in rules()["groups"] for rule in group["rules"]}
    assert read("bertqa:")
    assert read("bertqa:") <= recorded


def test_every_query_reads_one_release_alone() -> None:
    for title, query in queries():
        selectors = re.findall(r"\{(.*?)\}", query)
        assert selectors, title
        for selector in selectors:
            assert selector.startswith('namespace="ml", release="bert-qa"'), title


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_variable_that_a_query_names_is_defined() -> None:
    content = dashboard()
    variables = {one["name"]: one for one in content["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "release", "model"]
    for panel in content["panels"]:
        for target in panel.get("targets", []):
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {*variables, "__rate_interval"}
    assert "$release" in variables["model"]["definition"]


def test_two_releases_have_a_dashboard_each_that_shows_them_first() -> None:
    def first(content: Manifest) -> dict[str, str]:
        return {
            one["name"]: one["current"]["value"]
            for one in content["templating"]["list"]
            if "current" in one
        }

    here = dashboard()
    there = dashboard(values={"namespaceOverride": "other"})
    assert first(here) == {"namespace": "ml", "release": "bert-qa", "model": "bert-qa"}
    assert first(there)["namespace"] == "other"
    assert here["title"] != there["title"]
    assert here["uid"] != there["uid"]
    assert len(here["uid"]) <= 40


@pytest.mark.parametrize("scenario", ["tracks", "pvc"])
def test_without_the_label_of_a_release_none_is_chosen(scenario: str) -> None:
    (variable,) = [
        one for one in dashboard(scenario)["templating"]["list"] if one["name"] == "release"
    ]
    assert "current" not in variable


def test_there_is_none_by_default() -> None:
    names = [one["metadata"]["name"] for one in render().all("ConfigMap")]
    assert "bert-qa-dashboard" not in names
