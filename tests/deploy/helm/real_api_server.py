"""A real API server, asked whether it would take what the chart renders."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.chart import Manifest
from tests.support.release import run
from tools.programs import kubectl

NAMESPACES = ("bert-qa-any", "123", "on", "0x1f", "n" * 63)
# Of a pod's specification, what KServe's own kinds have around theirs.
_POD = ("containers", "initContainers", "volumes", "affinity", "terminationGracePeriodSeconds")


@contextmanager
def namespaces() -> Iterator[tuple[str, ...]]:
    """Make namespaces, and delete them in the end."""
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in NAMESPACES
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": spaces})
    run(kubectl(), "apply", "--server-side", "-f", "-", given=listed)
    try:
        yield NAMESPACES
    finally:
        run(kubectl(), "delete", "namespace", *NAMESPACES, "--wait=false")


def known_kinds() -> set[str]:
    """The kinds that the cluster has, as `apps/v1 Deployment`."""
    lines = run(kubectl(), "api-resources", "--no-headers").splitlines()
    return {f"{line.split()[-3]} {line.split()[-1]}" for line in lines}


def complaints(objects: list[Manifest], known: set[str]) -> str:
    """What the API server says against objects; empty where it would take them."""
    sent = [one for found in objects for one in _sent(found, known)]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": sent})
    ended = subprocess.run(
        [
            *(str(kubectl()), "apply", "--server-side", "--dry-run=server", "--force-conflicts"),
            *("--validate=strict", "-f", "-"),
        ],
        input=listed,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stderr if ended.returncode else ""


def _sent(found: Manifest, known: set[str]) -> Iterator[Manifest]:
    if found["kind"] == "Pod":  # Its service account has to be there.
        yield _template(found, {"spec": found["spec"]})
    elif f"{found['apiVersion']} {found['kind']}" in known:
        yield found
    if found["kind"] == "Rollout":
        yield _template(found, found["spec"]["template"])
    if found["kind"] == "InferenceService":
        for part in ("predictor", "transformer"):
            specification = found["spec"].get(part, {})
            if specification:
                pod = {key: specification[key] for key in _POD if key in specification}
                yield _template(found, {"spec": pod})


def _template(found: Manifest, template: dict[str, Any]) -> Manifest:
    """The pods of a kind that the cluster does not know, as a kind that it knows."""
    metadata = {key: found["metadata"][key] for key in ("name", "namespace")}
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": metadata, "template": template}
