"""An upgrade, from a released chart or to other values, changes nothing that cannot change."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deploy.helm.golden import RELEASED, chart_version, immutable_fields
from tests.support.chart import SCENARIOS, render

VERSIONS = sorted(path.stem for path in RELEASED.glob("*.yaml"))

CHANGES: dict[str, dict[str, Any]] = {
    "another version": {"tracks": {"stable": {"version": 9}}},
    "another image": {"server": {"image": "openvino/model_server:2026.2.1"}},
    "other resources": {"resources": {"limits": {"cpu": 2, "memory": "2Gi"}}},
    "another recipe": {"model": {"training": {"recipe": "name: other\n"}}},
    "another directory": {"model": {"hostPath": {"path": "/srv/other"}}},
    "a second track": {"tracks": {"next": {"version": 3, "weight": 0}}},
    "labels and annotations": {"podLabels": {"team": "qa"}, "podAnnotations": {"a": "b"}},
}
NEEDED = {"another recipe": "training", "another directory": "single-node"}


def test_this_chart_version_is_on_record() -> None:
    assert chart_version() in VERSIONS, "run `python -m tests.deploy.helm.golden`"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_has_the_fields_of_every_scenario_that_has_any(version: str) -> None:
    released = yaml.safe_load((RELEASED / f"{version}.yaml").read_text(encoding="utf-8"))
    assert {name for name, fields in released.items() if not fields} <= {
        "kserve",
        "kserve-standard",
    }
    assert len(released) > 10


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_upgrade_from_a_released_chart_changes_no_immutable_field(
    version: str, scenario: str
) -> None:
    released = yaml.safe_load((RELEASED / f"{version}.yaml").read_text(encoding="utf-8"))
    now = immutable_fields(render(scenario).objects)
    for name, fields in released.get(scenario, {}).items():
        assert now.get(name, fields) == fields, name


@pytest.mark.parametrize("change", CHANGES)
def test_other_values_change_no_immutable_field(change: str) -> None:
    scenario = NEEDED.get(change, "pvc")
    before = immutable_fields(render(scenario).objects)
    after = immutable_fields(render(scenario, CHANGES[change]).objects)
    assert before.keys() & after.keys()
    for name in before.keys() & after.keys():
        assert before[name] == after[name], name
