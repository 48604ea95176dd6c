"""What the tests compare a rendering with. `python -m tests.deploy.helm.golden` writes it anew.

`golden/` holds whole renderings of two scenarios: what the others add is asserted by the tests
of each template. `released/` holds, for each chart version, the fields that an upgrade must not
change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.chart import CHART, SCENARIOS, Manifest, render

HERE = Path(__file__).parent
GOLDEN = ("pvc", "tracks")
RELEASED = HERE / "released"

# Kubernetes refuses a change of these.
IMMUTABLE: dict[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"),),
    "Service": (("spec", "clusterIP"),),
    "Job": (("spec", "template"), ("spec", "podFailurePolicy"), ("spec", "selector")),
    "PersistentVolume": (("spec", "hostPath"), ("spec", "claimRef")),
    "PersistentVolumeClaim": (
        ("spec", "accessModes"),
        ("spec", "storageClassName"),
        ("spec", "volumeName"),
    ),
}


def chart_version() -> str:
    """The version of the chart as it is."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["version"])


def golden_path(scenario: str) -> Path:
    """Where a scenario's golden rendering is."""
    return HERE / "golden" / f"{scenario}.yaml"


def immutable_fields(objects: tuple[Manifest, ...]) -> dict[str, dict[str, Any]]:
    """The fields that cannot be changed, by object."""
    return {
        f"{found['kind']} {found['metadata']['name']}": {
            ".".join(path): _field(found, path) for path in IMMUTABLE[found["kind"]]
        }
        for found in objects
        if found["kind"] in IMMUTABLE
    }


def _field(found: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        found = found.get(key, {})
    return found


def main() -> None:
    """Write the golden renderings, and the fields of this chart version."""
    for scenario in GOLDEN:
        golden_path(scenario).write_text(render(scenario).text, encoding="utf-8")
    fields = {name: immutable_fields(render(name).objects) for name in SCENARIOS}
    text = yaml.safe_dump(fields, sort_keys=True, width=1000)
    (RELEASED / f"{chart_version()}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
