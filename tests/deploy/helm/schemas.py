"""What an API server takes: Kubernetes's resources, and the custom ones of the chart."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate.utils
import yaml
from referencing import Registry, Resource

from tests.support.chart import Manifest


def _schemas(name: str) -> dict[str, Manifest]:
    """The schema of each resource in a file, with the file's definitions."""
    content = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return {
        key: {**schema, "definitions": content["definitions"]}
        for key, schema in content["resources"].items()
    }


CUSTOM = {
    key: schema
    for name in ("custom_resources.yaml", "argo_rollouts.yaml", "kubeflow_trainer.yaml")
    for key, schema in _schemas(name).items()
}


@functools.cache
def kubernetes_schema(api: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    """The strict schema of a built-in kind, from kubernetes-validate, each read once."""
    directory = f"kubernetes-json-schema/v{version}.0-local-strict"
    group, _, number = api.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], number)))
    schema = kubernetes_validate.utils.schema_contents(f"{directory}/{name}.json", version)
    registry: Registry[Any] = kubernetes_definitions(version) @ Registry()
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def kubernetes_definitions(version: str) -> Resource[Any]:
    path = f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json"
    contents = kubernetes_validate.utils.schema_contents(path, version)
    return Resource.from_contents(contents)
