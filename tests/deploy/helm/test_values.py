"""values.yaml, values.schema.json and the README's table, and what the schema refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertqa.artifact import SETTING_RANGES
from tests.deploy.helm import rendered
from tests.support.chart import CHART, ROOT, container, refusal, render, server_pod
from tools.programs import helm, older_helm


def test_the_generated_files_are_up_to_date() -> None:
    command = [sys.executable, "-m", "tools.chart", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"replicas": 3}, "replicas"),
    "an unknown key of a track": ({"tracks": {"stable": {"versoin": 2}}}, "versoin"),
    "a version that is not a number": (
        {"tracks": {"stable": {"version": "v2"}}},
        "'^(latest|[1-9][0-9]*)$'",
    ),
    "version zero": ({"tracks": {"stable": {"version": 0}}}, "version"),
    "a weight above 100": ({"tracks": {"stable": {"weight": 101}}}, "weight"),
    "a track's name that is not a label": ({"tracks": {"Stable_1": {"version": 1}}}, "Stable_1"),
    "an address of an unknown store": ({"model": {"storage": {"uri": "ftp://a"}}}, "uri"),
    "a relative host path": ({"model": {"hostPath": {"path": "models"}}}, "'^(/["),
    "memory that is not a quantity": ({"resources": {"limits": {"memory": "4 GB"}}}, "memory"),
    "an unknown log level": ({"server": {"logLevel": "LOUD"}}, "logLevel"),
    "text for a number": ({"server": {"streams": "two"}}, "streams"),
    "a split without a percent": ({"rollout": {"good": "1"}}, "good"),
    "a split above 100 percent": ({"rollout": {"goal": "1=101"}}, "goal"),
    "a split of version zero": ({"rollout": {"previous": "0=100"}}, "previous"),
    "text for yes or no": ({"rollout": {"returning": "yes"}}, "returning"),
    "an unknown placement": ({"xeon": {"amx": "sometimes"}}, "amx"),
    "no step of a rollout": ({"rollouts": {"steps": []}}, "steps"),
    "a step above 100": ({"rollouts": {"steps": [50, 101]}}, "steps"),
    "no process of the HTTP API": ({"httpApi": {"workers": 0}}, "workers"),
    "a web origin with a path": (
        {"httpApi": {"corsOrigins": ["https://a.example/page"]}},
        "corsOrigins",
    ),
    "a claim's name with capital letters": (
        {"model": {"pvc": {"claimName": "Models"}}},
        "claimName",
    ),
    "an absolute path in a volume": ({"model": {"pvc": {"subPath": "/a"}}}, "'^([^/"),
    "a store with a space in it": ({"model": {"storage": {"uri": "s3://a b"}}}, "uri"),
    "an image with a space in it": ({"server": {"image": "a b"}}, "image"),
    "a port in a repository": ({"server": {"image": {"repository": "a:5000/b"}}}, "repository"),
    "a short digest": ({"server": {"image": "a@sha256:ab"}}, "image"),
    "a negative tag": ({"server": {"image": {"tag": -1}}}, "tag"),
    "less than nothing": ({"resources": {"limits": {"cpu": -1}}}, "cpu"),
    "an unknown resource": ({"resources": {"limits": {"gpu": 1}}}, "gpu"),
    "a label with a space in it": ({"podLabels": {"team": "q a"}}, "team"),
    "a label with two slashes": ({"commonLabels": {"a/b/c": "d"}}, "a/b/c"),
    "an annotation without a name": (
        {"service": {"annotations": {"a.example/": "b"}}},
        "a.example/",
    ),
    "a long label": ({"commonLabels": {"a": "b" * 64}}, "commonLabels"),
    "a name that no Service can have": ({"fullnameOverride": "Reader"}, "fullnameOverride"),
    "a namespace with a dot": ({"namespaceOverride": "a.b"}, "namespaceOverride"),
    "a host name with a scheme": ({"gateway": {"http": {"hostnames": ["http://a"]}}}, "hostnames"),
    "a Gateway without a name": ({"gateway": {"http": {"parentRefs": [{"name": ""}]}}}, "name"),
    "an unknown key of a Gateway": (
        {"gateway": {"http": {"parentRefs": [{"name": "a", "listener": "b"}]}}},
        "listener",
    ),
    "a peer of an unknown kind": ({"networkPolicy": {"clients": [{"pods": {}}]}}, "pods"),
    "an object without a kind": (
        {"extraManifests": [{"apiVersion": "v1", "metadata": {"name": "a"}}]},
        "kind",
    ),
    "a volume without a name": ({"volumes": [{"emptyDir": {}}]}, "volumes"),
    "an issuer with an unknown key": ({"tls": {"issuerRef": {"nmae": "a"}}}, "nmae"),
    "a key that no Secret has": ({"httpApi": {"token": {"key": "a/b"}}}, "key"),
    "a longer wait than an autoscaler has": ({"autoscaling": {"scaleDownSeconds": 3601}}, "scale"),
    "more pods than 32 bits count": ({"autoscaling": {"maxReplicas": 2**31}}, "maxReplicas"),
    "an interval of nothing": ({"monitoring": {"serviceMonitor": {"interval": "0s"}}}, "interval"),
    "a Prometheus without a scheme": (
        {"rollouts": {"prometheus": "prometheus:9090"}},
        "prometheus",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_schema_refuses(case: str) -> None:
    values, key = WRONG[case]
    message = refusal(values)
    assert "values don't meet the specifications of the schema" in message
    assert key in message


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("threads", "threads"),
        ("streams", "streams"),
        ("maxConcurrentStreams", "concurrent_streams"),
        ("grpcMaxThreads", "grpc_threads"),
        ("restWorkers", "rest_workers"),
        ("pollSeconds", "poll_seconds"),
    ],
)
def test_the_schema_refuses_what_serve_refuses(value: str, setting: str) -> None:
    _, most = SETTING_RANGES[setting]
    for wrong in (-1, most + 1):
        message = refusal({"server": {value: wrong}})
        assert "values don't meet the specifications of the schema" in message
        assert value in message


@pytest.mark.parametrize("split", ["", "1=100", "1=90,2=10", "12=0,13=5,14=95"])
def test_the_memory_of_a_rollout_moves_nothing(split: str) -> None:
    memory = {
        "goal": split,
        "previous": split,
        "returning": True,
        "held": "Too few.",
    }
    assert render(values={"rollout": memory}).text == render().text
    noted = render(values={"rollout": {**memory, "good": split}})
    annotations = noted.one("Service", "bert-qa")["metadata"].pop("annotations", {})
    assert annotations == ({"bert-qa/good-split": split} if split else {})
    assert noted.objects == render().objects


def test_the_number_of_a_version_may_be_a_text() -> None:
    numbered, written = ({"tracks": {"stable": {"version": given}}} for given in (12, "12"))
    assert render("tracks", numbered).text == render("tracks", written).text


SOURCE = yaml.safe_load((CHART.parent / "values.source.yaml").read_text())
KeyPath = tuple[str, ...]


def keys(schema: dict[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Every key of the values, sections too, with its schema."""
    for name, found in schema["properties"].items():
        yield (*path, name), found
        if "default" not in found:
            yield from keys(found, (*path, name))


def section_of(values: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """The section that a key is in, made where it is not there."""
    for name in path[:-1]:
        values = values.setdefault(name, {})
    return values


@pytest.mark.parametrize("name", SOURCE["properties"])
def test_a_section_that_is_null_is_the_default(name: str) -> None:
    assert render("default", {name: None}).text == render("default").text


def test_every_key_may_be_null() -> None:
    values: dict[str, Any] = {}
    for path, found in keys(SOURCE):
        if "default" in found:
            section_of(values, path)[path[-1]] = None
    assert render("default", values).text == render("default").text


@pytest.mark.parametrize("program", [helm, older_helm])
def test_a_key_that_is_null_is_not_there(program: Callable[[], Path]) -> None:
    given = {
        "podLabels": {"a": "b"},
        "tracks": {"next": {"version": 2}},
        "server": {"pluginConfig": {"CPU_RUNTIME_CACHE_CAPACITY": 10}},
        "tls": {"enabled": True, "issuerRef": {"name": "a"}},
    }
    with_nulls = {
        "podLabels": {"a": "b", "c": None},
        "podAnnotations": {"a": None},
        "tracks": {"next": {"version": 2, "weight": None, "replicas": None, "resources": None}},
        "server": {"pluginConfig": {"CPU_RUNTIME_CACHE_CAPACITY": 10, "LOG_LEVEL": None}},
        "tls": {"enabled": True, "issuerRef": {"name": "a", "kind": None}},
        "global": {"imageRegistry": None},
    }
    text = render("default", with_nulls, program=program()).text
    assert text == render("default", given, program=program()).text


@pytest.mark.parametrize("kind", ["image", "storage", "hostPath", "training"])
def test_a_source_that_is_null_is_none(kind: str) -> None:
    assert render(values={"model": {kind: None}}).text == render().text


@pytest.mark.parametrize("scenario", ["pvc", "autoscaling", "keda", "kserve", "monitoring"])
def test_whole_numbers_stay_whole(scenario: str) -> None:
    """A values file makes 1000000 a float, which some templates wrote as 1e+06."""
    track = {"version": 1_000_000, "replicas": 1_000_000}
    values: dict[str, Any] = {"tracks": {"stable": track}}
    for path, found in keys(SOURCE):
        if found.get("type") == "integer" and found.get("maximum", 10**6) >= 10**6:
            section_of(values, path)[path[-1]] = 1_000_000
    text = render(scenario, values).text
    assert "1000000" in text
    assert "e+0" not in text


@pytest.mark.parametrize("tag", [1000000, 20260401, "1e6"])
def test_a_tag_may_be_a_number(tag: int | str) -> None:
    pod = server_pod(render(values={"server": {"image": {"tag": tag}}}))
    assert container(pod, "ovms")["image"] == f"openvino/model_server:{tag}"


@pytest.mark.parametrize("word", ["on", "y", "null", "e1", "true"])
def test_names_may_be_words_of_yaml(word: str) -> None:
    values = {
        "fullnameOverride": word,
        "model": {"name": word, "pvc": {"claimName": word}},
        "tracks": {"stable": None, "candidate": None, word: {"version": 1, "weight": 100}},
        "priorityClassName": word,
        "serviceAccount": {"name": word},
        "commonLabels": {word: word},
        "podAnnotations": {word: word},
        "nodeSelector": {word: word},
    }
    for scenario in ("monitoring", "tracks"):
        objects = rendered.objects(render(scenario, values).text)
        rendered.check(objects, "1.37")
        assert word in {found["metadata"]["name"] for found in objects}


@pytest.mark.parametrize(
    ("limits", "requests"),
    [
        ({"cpu": 4, "memory": "4Gi"}, {"cpu": "4", "memory": "4096Mi"}),
        ({"cpu": "4e0", "memory": "0.5Gi"}, {"cpu": "4.", "memory": "512Mi"}),
        ({"cpu": "4000m", "memory": "4G"}, {"cpu": "4.0", "memory": 4_000_000_000}),
    ],
)
def test_quantities_are_equal_however_they_are_spelled(
    limits: dict[str, Any], requests: dict[str, Any]
) -> None:
    resources = {"limits": limits, "requests": requests}
    pod = server_pod(render("xeon", {"resources": resources, "xeon": {"wholeCpus": True}}))
    assert container(pod, "ovms")["resources"] == resources
    requests = {**requests, "memory": "3Gi"}
    assert "requests that differ from its limits" in refusal(
        {"resources": {**resources, "requests": requests}}
    )


PARENT = "bert-qa: {model: {pvc: {claimName: models}}, proxy: null, server: {image: null}}"


def part_of_another(
    folder: Path, dependencies: list[dict[str, str]], values: str, *arguments: str
) -> str:
    """Render a parent chart, in a release called whole."""
    about = {"apiVersion": "v2", "name": "parent", "version": "0.1.0"}
    needs = [{"name": "bert-qa", "version": "*", **found} for found in dependencies]
    (folder / "Chart.yaml").write_text(json.dumps({**about, "dependencies": needs}))
    (folder / "values.yaml").write_text(values)
    shutil.copytree(CHART, folder / "charts" / "bert-qa")
    command = [str(helm()), "template", "whole", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("enabled", [True, False])
def test_the_chart_may_be_part_of_another(tmp_path: Path, enabled: bool) -> None:
    condition = {"condition": "bert-qa.enabled"}
    flags = ("--set", f"bert-qa.enabled={json.dumps(enabled)}")
    text = part_of_another(tmp_path, [condition], PARENT, *flags)
    assert ("name: whole-bert-qa-stable" in text) == enabled


def test_a_parent_that_has_it_twice_has_two_of_everything_and_two_releases_metrics(
    tmp_path: Path,
) -> None:
    """They share a release and a namespace: each one's series need a label of their own."""
    monitored = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    one = {"monitoring": {**monitored, "dashboard": {"enabled": True}}}
    dependencies = [{"alias": "first"}, {"alias": "second"}]
    values = json.dumps({"first": one, "second": one})
    found = rendered.objects(part_of_another(tmp_path, dependencies, values))
    rendered.check(found, "1.37")
    labels: dict[str, set[str]] = {}
    for rule in (one for one in found if one["kind"] in ("PrometheusRule", "ServiceMonitor")):
        name = rule["metadata"]["labels"]["app.kubernetes.io/name"]
        label = r'(?:release=\\"|"release": "|"replacement": ")(whole[a-z-]*)'
        texts = re.findall(label, json.dumps(rule["spec"]))
        labels[name] = labels.get(name, set()) | set(texts)
    assert labels == {"first": {"whole-first"}, "second": {"whole-second"}}
    (first, second) = [
        json.loads(one["data"][next(iter(one["data"]))])["uid"]
        for one in found
        if one["metadata"]["name"].endswith("-dashboard")
    ]
    assert first != second
