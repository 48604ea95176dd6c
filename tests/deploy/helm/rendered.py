"""What a rendering of the chart has to be, whatever the values."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.deploy.helm.schemas import CUSTOM, kubernetes_schema
from tests.support.chart import Manifest
from tools.programs import envoy

_OVMS = json.loads(files("bertqa_serve.engine").joinpath("config_schema.json").read_text("utf-8"))
_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_PART}(\.{_PART})*")
_SERVICE = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_KEY = re.compile(rf"({_PART}(\.{_PART})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")
_LABEL = re.compile("([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_IMAGE = re.compile(
    r"([a-zA-Z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_REFUSAL = re.compile(
    r"^Error: (UPGRADE FAILED: )?execution error at \(bert-qa/templates/[^)]*\): "
    r"(?P<sentence>.*\.)$",
    re.MULTILINE,
)


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: no key twice, `y` is true, `1e3` a number."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f"a key is there twice: {keys}"
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9.]+[eE][-+]?[0-9]+$"), list("-+0123456789.")
)
_Loader.yaml_constructors = {
    **_Loader.yaml_constructors,
    "tag:yaml.org,2002:bool": lambda loader, node: node.value.lower() in ("y", "yes", "on", "true"),
}


def refused(ended: subprocess.CompletedProcess[str]) -> str | None:
    """The sentence with which the chart refused values; None where it took them."""
    if ended.returncode == 0:
        return None
    sentences = _REFUSAL.search(ended.stderr)
    assert sentences, f"helm failed with more than a sentence:\n{ended.stderr}"
    return sentences["sentence"]


def objects(text: str) -> list[Manifest]:
    """The objects of a rendering."""
    return [found for found in yaml.load_all(text, Loader=_Loader) if found]


def check(found: list[Manifest], kubernetes: str) -> None:
    """Check the objects of a rendering for a version of Kubernetes."""
    names = Counter((one["kind"], one["metadata"]["name"]) for one in found)
    assert max(names.values()) == 1, f"a name is there twice: {names.most_common(1)}"
    for one in found:
        label = f"{one['kind']} {one['metadata']['name']}"
        try:
            _check_names(one)
            _check_schema(one, kubernetes)
            _check_scalars(one)
        except (AssertionError, jsonschema.ValidationError) as error:
            raise AssertionError(f"{label}: {error}") from error
    for content in _files(found):
        if "config.json" in content:
            jsonschema.validate(json.loads(content["config.json"]), _OVMS)
        if "envoy.yaml" in content:
            envoy_takes(tuple(sorted(content.items())))


def _check_names(one: Manifest) -> None:
    metadata = one["metadata"]
    assert len(metadata["name"]) <= 253
    pattern = _SERVICE if one["kind"] == "Service" else _NAME
    assert pattern.fullmatch(metadata["name"]), "its name is not valid"
    if one["kind"] in ("Service", "Job"):
        assert len(metadata["name"]) <= 63
    for place in _metadata(one):
        for key, value in place.get("labels", {}).items():
            assert _KEY.fullmatch(key), f"the label {key} is not valid"
            assert _LABEL.fullmatch(value), f"the label {key}={value} is not valid"
        for key, value in place.get("annotations", {}).items():
            assert _KEY.fullmatch(key), f"the annotation {key} is not valid"
            assert isinstance(value, str), f"the annotation {key} is not a text"


def _metadata(value: Any) -> Iterator[Manifest]:
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            yield value["metadata"]
        for each in value.values():
            yield from _metadata(each)


def _check_schema(one: Manifest, kubernetes: str) -> None:
    api, kind = one["apiVersion"], one["kind"]
    if f"{api} {kind}" in CUSTOM:
        jsonschema.validate(one["spec"], CUSTOM[f"{api} {kind}"])
    else:
        kubernetes_schema(api, kind, kubernetes).validate(one)


def _check_scalars(value: Any, path: str = "") -> None:
    """Images are references, and whole numbers no floats, but for quantities, which may be both."""
    if path.endswith((".limits", ".requests")):
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        here = f"{path}.{key}"
        assert not isinstance(each, float), f"{here} is {each}"
        if key == "image" and isinstance(each, str):
            assert _IMAGE.fullmatch(each), f"{here} is {each}"
        if isinstance(each, dict | list):
            _check_scalars(each, here)


def _files(found: list[Manifest]) -> Iterator[dict[str, str]]:
    """What the pods have of the chart's own files, in ConfigMaps or as annotations."""
    for one in found:
        if one["kind"] == "ConfigMap" and "labels" in one["metadata"]:
            yield one["data"]
        if one["kind"] == "Rollout":
            annotations = one["spec"]["template"]["metadata"]["annotations"]
            yield {key.removeprefix("bert-qa/"): text for key, text in annotations.items()}


@functools.cache
def envoy_takes(content: tuple[tuple[str, str], ...]) -> None:
    """Let a real Envoy validate its files."""
    with tempfile.TemporaryDirectory() as directory:
        for name, text in content:
            if name.endswith(".yaml"):
                text = text.replace("/etc/envoy/", f"{directory}/")
                (Path(directory) / name).write_text(text, encoding="utf-8")
        command = [str(envoy()), "--mode", "validate", "--config-path", f"{directory}/envoy.yaml"]
        ended = subprocess.run(
            [*command, "--log-level", "error"], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
