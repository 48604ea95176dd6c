"""Rendering the chart with real `helm`, each set of values once."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.programs import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "bert-qa"
SCENARIOS = {path.name.removesuffix("-values.yaml"): path for path in sorted(CHART.glob("ci/*"))}
RELEASE = "bert-qa"
NAMESPACE = "ml"
KUBERNETES = "1.35.0"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendering:
    """The output of `helm template`: the text, and the objects in it."""

    text: str
    objects: tuple[Manifest, ...]

    def all(self, kind: str, *, of_http_api: bool = False) -> list[Manifest]:
        """The objects of a kind but for those of the HTTP API, or those alone."""
        return [
            found
            for found in self.objects
            if found["kind"] == kind and is_of_http_api(found) == of_http_api
        ]

    def one(self, kind: str, name: str | None = None) -> Manifest:
        """The one object of a kind that is not of the HTTP API, or the one of that name."""
        named = self.all(kind)
        if name is not None:
            everyone = [*named, *self.all(kind, of_http_api=True)]
            named = [found for found in everyone if found["metadata"]["name"] == name]
        assert len(named) == 1, f"{len(named)} objects {kind} {name or ''} were rendered"
        return named[0]


def is_of_http_api(found: Manifest) -> bool:
    """Whether an object belongs to the HTTP API, as its label says."""
    component = found["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    return bool(component == "http-api")


def render(
    scenario: str = "pvc",
    values: Mapping[str, Any] | None = None,
    *,
    kubernetes: str = KUBERNETES,
    program: Path | None = None,
) -> Rendering:
    """Render a scenario of `ci/`, changed by `values`."""
    return _rendering(scenario, json.dumps(values or {}), kubernetes, program or helm())


def refusal(values: Mapping[str, Any], scenario: str = "pvc") -> str:
    """Render what must be refused, and return helm's message."""
    try:
        _template(scenario, json.dumps(values), KUBERNETES, helm())
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    raise AssertionError(f"helm took {values}")


@functools.cache
def _rendering(scenario: str, values: str, kubernetes: str, program: Path) -> Rendering:
    text = _template(scenario, values, kubernetes, program)
    documents = yaml.load_all(text, Loader=yaml.CSafeLoader)
    return Rendering(text, tuple(filter(None, documents)))


def _template(scenario: str, values: str, kubernetes: str, program: Path) -> str:
    command = [str(program), "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    files = ["--values", str(SCENARIOS[scenario]), "--values", "-"]
    rendered = subprocess.run(
        [*command, *files, "--kube-version", kubernetes],
        input=values,
        capture_output=True,
        text=True,
        check=True,
    )
    return rendered.stdout


def server_pod(rendering: Rendering, track: str = "stable") -> Manifest:
    """The pod specification of a track."""
    pod: Manifest = pod_template(rendering, track)["spec"]
    return pod


def pod_template(rendering: Rendering, track: str = "stable") -> Manifest:
    """What the pods of a track are made from."""
    kind = "Rollout" if rendering.all("Rollout") else "Deployment"
    template: Manifest = rendering.one(kind, f"{RELEASE}-{track}")["spec"]["template"]
    return template


def container(pod: Manifest, name: str) -> Manifest:
    """A container or init container of a pod specification."""
    everyone = [*pod.get("initContainers", []), *pod["containers"]]
    (found,) = [one for one in everyone if one["name"] == name]
    return dict(found)


def pod_specs(rendering: Rendering) -> dict[str, Manifest]:
    """Every pod specification in a rendering, by the kind and name of what holds it."""
    specs: dict[str, Manifest] = {}
    for found in rendering.objects:
        label = f"{found['kind']} {found['metadata']['name']}"
        match found["kind"]:
            case "Pod":
                specs[label] = found["spec"]
            case "Deployment" | "Job" | "Rollout":
                specs[label] = found["spec"]["template"]["spec"]
            case "PodTemplate":
                specs[label] = found["template"]["spec"]
            case "InferenceService":
                parts = ("predictor", "transformer")
                specs |= {f"{label} {p}": found["spec"][p] for p in parts if p in found["spec"]}
    assert specs, "no pod is in the rendering"
    return specs


def server_config(rendering: Rendering, track: str = "stable") -> Manifest:
    """OVMS's config.json of a track."""
    if rendering.all("Rollout"):
        content = pod_template(rendering, track)["metadata"]["annotations"]["bert-qa/config.json"]
    else:
        content = rendering.one("ConfigMap", f"{RELEASE}-{track}")["data"]["config.json"]
    config: Manifest = json.loads(content)
    return config
