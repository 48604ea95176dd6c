"""An upgrade, from a released chart or to other values, changes nothing that cannot change."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.cluster.api_server import ApiServer, running
from tests.deploy.helm.golden import RELEASED, chart_version, immutable_fields
from tests.support.chart import (
    CHART,
    NAMESPACE,
    RELEASE,
    ROOT,
    SCENARIOS,
    Rendering,
    container,
    pod_specs,
    render,
    server_pod,
)
from tests.support.ports import free_port
from tools.programs import helm

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


def upgraded(given: tuple[str, ...], leaving: str = "") -> Rendering:
    """A release of 0.1.0 with values, upgraded with the line that the chart's README has for it."""
    readme = (CHART / "README.md").read_text("utf-8").partition("## Upgrading from 0.1.0")[2]
    line = next(one for one in readme.splitlines() if one.startswith("helm upgrade"))
    assert leaving in line
    if leaving:
        assert f"Leave out `{leaving}`" in readme

    def helm_does(*arguments: str) -> str:
        command = [str(helm()), *arguments, "--namespace", NAMESPACE]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout

    old = str(RELEASED / "bert-qa-0.1.0.tgz")
    helm_does("install", RELEASE, old, "--set", ",".join(("model.pvc.claimName=models", *given)))
    helm_does(*shlex.split(line.replace(leaving, ""))[1:])
    manifest = yaml.safe_load_all(helm_does("get", "manifest", RELEASE))
    return Rendering("", tuple(found for found in manifest if found))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kubeconfig = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with running(ApiServer({1: 0}), free_port(), kubeconfig):
        yield


@pytest.mark.usefixtures("cluster")
def test_an_upgrade_from_0_1_0_keeps_what_was_set_and_takes_the_rest_anew() -> None:
    rendering = upgraded(("test.image=r.example/client:1", "httpApi.resources.limits.cpu=4"))
    pod = server_pod(rendering)
    assert container(pod, "ovms")["resources"]["limits"] == {"cpu": "4", "memory": "4Gi"}
    assert rendering.one("Deployment")["metadata"]["annotations"]["bert-qa/version"] == "1"
    http_api = container(pod_specs(rendering)["Deployment bert-qa-http-api"], "http-api")
    assert http_api["image"] == "r.example/client:1"
    assert http_api["resources"] == {
        "limits": {"cpu": 4, "memory": "1Gi"},
        "requests": {"cpu": "250m", "memory": "512Mi"},
    }


@pytest.mark.usefixtures("cluster")
def test_an_upgrade_from_0_1_0_leaves_a_version_and_a_limit_of_ones_own_as_they_are() -> None:
    given = ("tracks.stable.version=3", "xeon.wholeCpus=false", "resources.limits.cpu=null")
    rendering = upgraded(given, leaving="--set tracks.stable.version=1")
    assert rendering.one("Deployment")["metadata"]["annotations"]["bert-qa/version"] == "3"
    assert container(server_pod(rendering), "ovms")["resources"]["limits"] == {"memory": "4Gi"}
