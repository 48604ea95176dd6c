"""Values that the chart's schema accepts, drawn by Hypothesis, and how the chart renders them.

A key is drawn from its part of the schema. Objects of Kubernetes that the schema lets through
as they are come from `FREE`, which has valid ones: for those it is the API server that answers.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.support.chart import CHART, SCENARIOS
from tools.programs import helm, older_helm

Schema = dict[str, Any]
Values = dict[str, Any]
Drawn = st.SearchStrategy[Any]
KeyPath = tuple[str, ...]

SCHEMA: Schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VERSIONS = tuple(f"1.{minor}" for minor in range(29, 38))
_BASES = {
    name: yaml.safe_load(path.read_text(encoding="utf-8")) or {} for name, path in SCENARIOS.items()
}

# What YAML reads as something else where it is not quoted.
NAMES = ("123", "on", "null", "1e3", "0x1f", "y", "true", "a.b", "1.5", "a", "0", "2026-01-01")
LABELS = tuple(name for name in NAMES if "." not in name)
TEXTS = (
    *("", " ", "a: b #c", "{{ .Values }}", "a\nb", "'", '"', "- a", "\\", "$(A)", "%s", "é", "*"),
    *("\t", "|", "  a\n b\n", "a" * 300, "null", "1e3", "@", "`", "&a", "!"),
)

# Helm itself does not read others from every file of values.
_CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Zl", "Zp"))


@dataclass(frozen=True)
class Installation:
    """A release of the chart: its values, its Helm and its Kubernetes."""

    release: str
    namespace: str
    kubernetes: str
    is_older_helm: bool
    values: Values

    def template(self) -> subprocess.CompletedProcess[str]:
        """Run `helm template`."""
        program = older_helm() if self.is_older_helm else helm()
        where = ["--namespace", self.namespace, "--kube-version", f"{self.kubernetes}.0"]
        return subprocess.run(
            [str(program), "template", self.release, str(CHART), *where, "--values", "-"],
            input=json.dumps(self.values, ensure_ascii=False),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOGC": "off"},
        )


def installations(
    namespaces: tuple[str, ...] = ("ml", *LABELS, "n" * 63),
    kubernetes: tuple[str, ...] = VERSIONS,
    without: tuple[str, ...] = (),
) -> st.SearchStrategy[Installation]:
    """Draw installations.

    Args:
        namespaces: Where they may be.
        kubernetes: The versions that they may be for.
        without: Keys that are left as they are.
    """
    return st.builds(
        Installation,
        release=st.sampled_from(
            ("bert-qa", "answers", "a.b", "x" * 53, "y", "on", "r" + "1" * 40, "a-bert-qa")
        ),
        namespace=st.sampled_from(namespaces),
        kubernetes=st.sampled_from(kubernetes),
        is_older_helm=st.booleans(),
        values=_values(namespaces, without),
    )


@st.composite
def _values(draw: st.DrawFn, namespaces: tuple[str, ...], without: tuple[str, ...]) -> Values:
    """Those of a scenario, with some keys drawn anew: many of one section, or of all of them."""
    values: Values = copy.deepcopy(_BASES[draw(st.sampled_from(sorted(_BASES)))])
    keys = [path for path in sorted(LEAVES) if ".".join(path) not in without]
    section = draw(st.sampled_from(sorted(SCHEMA["properties"])))
    inside = [path for path in keys if path[0] == section]
    chosen = [path for path in inside if draw(st.booleans())]
    if len(inside) < 5:
        size = draw(st.integers(0, 30))
        paths = st.sampled_from(keys) | st.sampled_from(sorted(FREE))
        chosen += draw(st.lists(paths, min_size=size, max_size=size))
    for path in dict.fromkeys(chosen):
        found: Drawn = LEAVES[path]
        if path == ("namespaceOverride",):
            found = st.sampled_from(("", *namespaces))
        if path == ("fullnameOverride",):
            found |= st.sampled_from(("on", "y", "null", "n" * 40))
        _put(values, path, draw(st.none() | found | found | found))
    return values


def _put(values: Values, path: KeyPath, value: Any) -> None:
    for name in path[:-1]:
        section = values.get(name)
        if not isinstance(section, dict):
            section = values[name] = {}
        values = section
    values[path[-1]] = value


def _leaves(schema: Schema, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Drawn]]:
    for name, found in schema["properties"].items():
        here = (*path, name)
        if here in FREE:
            yield here, FREE[here]
        elif "default" in found:
            yield here, drawn(found)
        else:
            yield from _leaves(found, here)
            if "string" in found["type"]:
                yield here, drawn({**found, "type": "string"})


def drawn(schema: Schema) -> Drawn:
    """Draw what a schema accepts, of the keywords that the chart's schema has."""
    if "$ref" in schema:
        return drawn(SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_of_type(schema, name) for name in types])


def _of_type(schema: Schema, name: str) -> Drawn:
    match name:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            least, most = schema.get("minimum", 0), schema.get("maximum", 2**53 - 1)
            odd = [number for number in (least, most, 1_000_000) if least <= number <= most]
            return st.sampled_from(odd) | st.integers(least, most)
        case "number":
            low: float = schema.get("minimum") or schema.get("exclusiveMinimum") or 0
            high: float = schema.get("maximum") or schema.get("exclusiveMaximum") or 1e9
            numbers = st.floats(
                low, high, exclude_min=low == 0, exclude_max="exclusiveMaximum" in schema
            )
            return numbers | st.integers(max(1, int(low)), min(99, int(high) - 1))
        case "string":
            return _texts(schema)
        case "array":
            items = drawn(schema["items"])
            least, most = schema.get("minItems", 0), min(3, schema.get("maxItems", 3))
            key = json.dumps if schema.get("uniqueItems") else None
            return st.lists(items, min_size=least, max_size=most, unique_by=key)
        case _:
            return _objects(schema)


def _texts(schema: Schema) -> Drawn:
    most = schema.get("maxLength", 10_000)
    if "pattern" not in schema:
        texts = st.sampled_from(TEXTS) | st.text(_CHARACTERS, max_size=12)
        return texts.filter(lambda text: schema.get("minLength", 0) <= len(text) <= most)
    pattern = re.compile(schema["pattern"])

    def fits(text: str) -> bool:
        return len(text) <= most and "\n" not in text and bool(pattern.search(text))

    odd = [text for text in (*NAMES, *TEXTS, "a" * most) if fits(text)]
    texts = st.from_regex(pattern, fullmatch=True, alphabet=_CHARACTERS).filter(fits)
    return st.sampled_from(odd) | texts if odd else texts


def _objects(schema: Schema) -> Drawn:
    if "properties" in schema:
        given = {name: drawn(found) for name, found in schema["properties"].items()}
        needed = {name: given.pop(name) for name in schema.get("required", ())}
        return st.fixed_dictionaries(needed, optional=given)
    if not isinstance(schema.get("additionalProperties"), dict):
        return st.just({})  # What it may hold belongs into FREE.
    names = drawn({"type": "string", **schema.get("propertyNames", {})})
    return st.dictionaries(names, drawn(schema["additionalProperties"]), max_size=3)


_SELECTORS = st.sampled_from(({}, {"matchLabels": {"app": "qa"}}))
_PEERS = st.lists(
    st.fixed_dictionaries({"podSelector": _SELECTORS}, optional={"namespaceSelector": _SELECTORS})
    | st.just({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}),
    max_size=2,
)
_ENVIRONMENT = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(("HOME", "HTTPS_PROXY", "A", "URL"))},
        optional={"value": drawn({"type": "string"})},
    ),
    max_size=3,
)
_VOLUMES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(("data", "123", "scratch", "models"))},
        optional={"configMap": st.just({"name": "mine"})},
    ),
    max_size=2,
)
_MOUNTS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(("data", "scratch", "nowhere")),
            "mountPath": st.sampled_from(("/tmp", "/data", "/more")),
        }
    ),
    max_size=2,
)
_QUANTITIES = {
    "cpu": st.sampled_from((1, "1", "2000m", 2, 2.0, "2.0", "1e1", 0.5, "500m", "0", 1e6)),
    "memory": st.sampled_from(("4Gi", "4096Mi", 4294967296, 1e10, "4G", "1000000P", ".5Gi")),
    "ephemeral-storage": st.sampled_from(("1Gi", 1e9)),
    "hugepages-2Mi": st.sampled_from(("2Mi", "1Gi", 2097152, "3Mi")),
    "nvidia.com/gpu": st.sampled_from((1, "1", "1.5", 2.0)),
}
_RESOURCES = st.fixed_dictionaries(
    {},
    optional={
        kind: st.fixed_dictionaries({}, optional={k: v | st.none() for k, v in _QUANTITIES.items()})
        for kind in ("limits", "requests")
    },
)
_TRACK = SCHEMA["properties"]["tracks"]["additionalProperties"]["properties"]


@st.composite
def _tracks(draw: st.DrawFn) -> Values:
    """Tracks whose weights sum to 100, most of the time."""
    names = st.sampled_from(("stable", "on", "y", "null", "headless", "t" * 20, "e1", "a-pods"))
    chosen = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    left = 100
    tracks: Values = {"stable": None}
    for name in chosen:
        weight = left if name == chosen[-1] else draw(st.sampled_from((0, left)))
        left -= weight
        rest = {"replicas": drawn(_TRACK["replicas"]), "resources": _RESOURCES}
        tracks[name] = {
            "version": draw(drawn(_TRACK["version"]).filter(lambda version: version is not None)),
            "weight": weight,
            **draw(st.fixed_dictionaries({}, optional=rest)),
        }
    return tracks


FREE: dict[KeyPath, Drawn] = {
    ("tracks",): _tracks(),
    **dict.fromkeys(
        (
            ("resources",),
            ("proxy", "resources"),
            ("httpApi", "resources"),
            ("switch", "resources"),
            ("model", "training", "resources"),
        ),
        _RESOURCES,
    ),
    ("affinity",): st.sampled_from(
        ({}, {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}})
    ),
    ("tolerations",): st.sampled_from(
        ([], [{"operator": "Exists"}], [{"key": "qa", "value": "on", "effect": "NoSchedule"}])
    ),
    ("podSecurityContext",): st.fixed_dictionaries(
        {}, optional={"runAsUser": st.integers(0, 2**31 - 1) | st.none(), "fsGroup": st.none()}
    ),
    ("containerSecurityContext",): st.sampled_from(
        ({}, {"runAsUser": None}, {"runAsNonRoot": False})
    ),
    ("env",): _ENVIRONMENT,
    ("model", "training", "env"): _ENVIRONMENT,
    ("envFrom",): st.sampled_from(([], [{"configMapRef": {"name": "mine"}}])),
    ("volumes",): _VOLUMES,
    ("model", "training", "volumes"): _VOLUMES,
    ("volumeMounts",): _MOUNTS,
    ("model", "training", "volumeMounts"): _MOUNTS,
    ("server", "lifecycle"): st.just({"preStop": {"exec": {"command": ["sleep", "5"]}}}),
    ("server", "extraContainers"): st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(("log", "ovms")), "image": st.just("busybox")}
        ),
        max_size=2,
    ),
    ("networkPolicy", "clients"): _PEERS,
    ("networkPolicy", "monitoring"): _PEERS,
    ("networkPolicy", "egress"): st.lists(
        st.fixed_dictionaries({"to": _PEERS}, optional={"ports": st.just([{"port": 8443}])}),
        max_size=2,
    ),
    ("extraManifests",): st.lists(
        st.fixed_dictionaries(
            {
                "apiVersion": st.just("v1"),
                "kind": st.just("ConfigMap"),
                "metadata": st.sampled_from(NAMES).map(lambda name: {"name": name}),
                "data": st.dictionaries(st.sampled_from(NAMES), st.sampled_from(TEXTS)),
            }
        ),
        max_size=1,
    ),
    ("model", "training", "recipe"): st.sampled_from(
        ("", "name: a\n", "  a: 1\n  b: 2\n", "# ä\r\na: {b: 1}\n", "- a", "a: [")
    ),
    ("gateway", "http", "parentRefs"): drawn({"$ref": "#/definitions/parentRefs"}),
}
LEAVES: dict[KeyPath, Drawn] = dict(_leaves(SCHEMA))
