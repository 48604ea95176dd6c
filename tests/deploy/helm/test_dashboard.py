"""templates/dashboard.yaml: the Grafana dashboard."""

from __future__ import annotations

import json
import re

from tests.support.chart import Manifest, render, server_config


def dashboard() -> Manifest:
    config = render("monitoring").one("ConfigMap", "bert-qa-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    (content,) = config["data"].values()
    loaded: Manifest = json.loads(content)
    assert len(loaded["panels"]) >= 4
    assert all(panel["targets"] for panel in loaded["panels"])
    return loaded


def test_it_shows_rate_errors_latency_and_queue_by_version() -> None:
    panels = {panel["title"]: panel for panel in dashboard()["panels"]}
    assert {"Requests", "Errors", "Latency", "Queue"} <= set(panels)
    for panel in panels.values():
        for target in panel["targets"]:
            assert "by (version" in target["expr"]
            assert "{{version}}" in target["legendFormat"]


def test_it_reads_metrics_that_are_switched_on() -> None:
    enabled = server_config(render("monitoring"))["monitoring"]["metrics"]["metrics_list"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            metrics = re.findall(r"ovms_\w+", target["expr"])
            assert metrics
            assert {re.sub("_(bucket|sum|count)$", "", one) for one in metrics} <= set(enabled)


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_every_variable_that_a_query_names_is_defined() -> None:
    content = dashboard()
    defined = {one["name"] for one in content["templating"]["list"]} | {"__rate_interval"}
    for panel in content["panels"]:
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= defined


def test_there_is_none_by_default() -> None:
    names = [one["metadata"]["name"] for one in render().all("ConfigMap")]
    assert "bert-qa-dashboard" not in names
