"""The names of tracks are free: the chart works with each that it does not refuse."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deploy.helm.test_notes import notes
from tests.support.chart import CHART, RELEASE, SCENARIOS, refusal, render

OF_A_TRACK = (
    *("Deployment", "Service", "ConfigMap", "PodDisruptionBudget"),
    *("HorizontalPodAutoscaler", "ScaledObject"),
)


def tracks(scenario: str) -> dict[str, dict[str, Any]]:
    """The tracks of a scenario with the chart's own one."""
    given = yaml.safe_load(SCENARIOS[scenario].read_text(encoding="utf-8")).get("tracks", {})
    default = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["tracks"]
    return {**given, "stable": {**default["stable"], **given.get("stable", {})}}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_another_name_than_stable_changes_nothing_but_the_name(scenario: str) -> None:
    renamed = {"tracks": {"stable": None, "v2": tracks(scenario)["stable"]}}
    assert render(scenario, renamed).text == render(scenario).text.replace("stable", "v2")


@pytest.mark.parametrize("scenario", ["pvc", "tracks", "training", "kserve"])
def test_the_notes_name_the_track_that_there_is(scenario: str) -> None:
    renamed = {"tracks": {"stable": None, "v7": {**tracks(scenario)["stable"], "version": 7}}}
    printed = notes(scenario, renamed)
    assert "stable" not in printed
    if scenario != "kserve":
        assert "deployment/answers-bert-qa-v7" in printed


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_track_can_have_the_name_of_another_object(scenario: str) -> None:
    values = {"monitoring": {part: {"enabled": True} for part in ("dashboard", "serviceMonitor")}}
    for one in render(scenario, values).objects:
        kind, name = one["kind"], one["metadata"]["name"]
        suffix = name.removeprefix(f"{RELEASE}-")
        if kind in OF_A_TRACK and suffix not in {name, *tracks(scenario)}:
            message = refusal({"tracks": {suffix: {"version": 2, "weight": 0}}}, scenario)
            assert f"A track cannot be called {suffix}" in message
