"""The names of tracks are free: the chart works with each that it does not refuse."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy.helm.test_notes import notes
from tests.support.chart import CHART, RELEASE, SCENARIOS, refusal, render

OF_A_TRACK = (
    *("Deployment", "Service", "ConfigMap", "PodDisruptionBudget"),
    *("HorizontalPodAutoscaler", "ScaledObject"),
)

# What Argo Rollouts itself calls stable.
ARGOS = "Service:|Metadata:|-hash"


def tracks(scenario: str) -> dict[str, dict[str, Any]]:
    """The tracks of a scenario with the chart's own one."""
    given = yaml.safe_load(SCENARIOS[scenario].read_text(encoding="utf-8")).get("tracks", {})
    default = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["tracks"]
    return {**given, "stable": {**default["stable"], **given.get("stable", {})}}


def objects(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_another_name_than_stable_changes_nothing_but_the_name(scenario: str) -> None:
    renamed = {"tracks": {"stable": None, "v2": tracks(scenario)["stable"]}}
    expected = re.sub(f"(?<!role: )stable(?!{ARGOS})", "v2", render(scenario).text)
    # As objects: a line that is shorter is wrapped elsewhere.
    assert objects(render(scenario, renamed).text) == objects(expected)


@pytest.mark.parametrize("scenario", ["pvc", "tracks", "training", "kserve"])
def test_the_notes_name_the_track_that_there_is(scenario: str) -> None:
    renamed = {"tracks": {"stable": None, "v7": {**tracks(scenario)["stable"], "version": 7}}}
    printed = notes(scenario, renamed)
    assert "stable" not in printed
    if scenario != "kserve":
        assert "deployment/answers-bert-qa-v7" in printed


def taken(scenario: str) -> set[str]:
    """What objects other than those of tracks are called where tracks have their names."""
    values = {"monitoring": {part: {"enabled": True} for part in ("dashboard", "serviceMonitor")}}
    names = {
        one["metadata"]["name"]
        for one in render(scenario, values).objects
        if one["kind"] in OF_A_TRACK
    }
    ours = {name.removeprefix(f"{RELEASE}-") for name in names}
    return ours - names - set(tracks(scenario))


def test_a_track_cannot_have_the_name_of_the_service_over_the_pods_of_another() -> None:
    message = refusal({"tracks": {"stable-pods": {"version": 2, "weight": 0}}})
    assert "The tracks stable and stable-pods cannot be side by side" in message


def check_is_refused(scenario: str, suffix: str) -> None:
    message = refusal({"tracks": {suffix: {"version": 2, "weight": 0}}}, scenario)
    beside = f"The tracks {suffix.removesuffix('-pods')} and {suffix} cannot be side by side"
    assert f"A track cannot be called {suffix}" in message or beside in message


def test_no_track_can_have_the_name_of_another_object() -> None:
    scenarios = {suffix: scenario for scenario in SCENARIOS for suffix in taken(scenario)}
    assert scenarios
    for suffix, scenario in scenarios.items():
        check_is_refused(scenario, suffix)


@pytest.mark.thorough
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_track_of_any_scenario_can_have_the_name_of_another_object(scenario: str) -> None:
    for suffix in taken(scenario):
        check_is_refused(scenario, suffix)
