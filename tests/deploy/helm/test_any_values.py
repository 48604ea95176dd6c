"""Whatever the schema accepts is rendered to what everybody takes, or refused with one sentence.

`make fuzz` draws many more.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.deploy.helm import real_api_server, rendered
from tests.support.any_values import FREE, LEAVES, SCHEMA, Installation, installations
from tests.support.chart import SCENARIOS, render

SETTINGS = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@settings(SETTINGS, max_examples=40)
@given(installations())
def test_it_is_refused_with_one_sentence_or_valid(installation: Installation) -> None:
    ended = installation.template()
    if rendered.refused(ended) is None:
        rendered.check(rendered.objects(ended.stdout), installation.kubernetes)


def test_every_section_is_drawn() -> None:
    assert {path[0] for path in LEAVES} == set(SCHEMA["properties"])
    assert set(FREE) <= set(LEAVES)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_scenarios_are_valid(scenario: str) -> None:
    rendered.check(rendered.objects(render(scenario).text), "1.35")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, name: b}}", "a key is there twice"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: A}}", "its name is not valid"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: on}}", None),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {b: y}}}", None),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {b: '-'}}}", "b=-"),
        ("{apiVersion: v1, kind: Service, metadata: {name: a.b}}", "its name is not valid"),
        (
            "{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {parallelism: 1e6}}",
            None,
        ),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, dta: {}}", "dta"),
    ],
)
def test_what_is_not_valid_is_found(text: str, wrong: str | None) -> None:
    with pytest.raises((AssertionError, TypeError), match=wrong):
        rendered.check(rendered.objects(text), "1.37")


def test_the_tool_counts_what_became_of_the_values() -> None:
    command = [sys.executable, "-m", "tools.fuzz_chart", "--examples", "5", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "taken" in done.stdout


@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_an_api_server_takes_what_is_rendered() -> None:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster: set it to ask its API server")
    with real_api_server.namespaces() as namespaces:
        known = real_api_server.known_kinds()

        # A cluster knows its own families of addresses alone.
        @settings(SETTINGS, max_examples=100)
        @given(installations(namespaces, without=("service.ipFamilies",)))
        def takes(installation: Installation) -> None:
            ended = installation.template()
            if rendered.refused(ended) is None:
                found = rendered.objects(ended.stdout)
                assert real_api_server.complaints(found, known) == ""

        takes()
