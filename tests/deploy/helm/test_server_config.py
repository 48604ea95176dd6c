"""templates/server-config.yaml: OVMS's config.json and flags, from values."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from bertqa.artifact import server_settings
from bertqa_serve.command import unknown_flags
from bertqa_serve.engine.flags import parse
from bertqa_serve.engine.server import LocalServer
from tests.support.chart import (
    SCENARIOS,
    Manifest,
    Rendering,
    container,
    pod_specs,
    render,
    server_config,
    server_pod,
)
from tests.support.models import write_toy_version

SCHEMA = json.loads(files("bertqa_serve.engine").joinpath("config_schema.json").read_text("utf-8"))


def model(rendering: Rendering, track: str = "stable") -> Manifest:
    entry: Manifest = server_config(rendering, track)["model_config_list"][0]["config"]
    return entry


def tracks(rendering: Rendering) -> list[str]:
    holding = rendering.all("Rollout") or [
        one for one in rendering.all("ConfigMap") if "config.json" in one["data"]
    ]
    return [one["metadata"]["name"].removeprefix("bert-qa-") for one in holding]


def test_further_models_are_served_by_every_track_in_their_newest_version() -> None:
    values = {"model": {"others": ["customer-1", "customer-2", "customer-1", "bert-qa"]}}
    rendering = render("tracks", values)
    for track in tracks(rendering):
        config = server_config(rendering, track)
        jsonschema.validate(config, SCHEMA)
        *others, last = [each["config"] for each in config["model_config_list"]]
        assert [each["name"] for each in others] == ["customer-1", "customer-2"]
        assert last == model(render("tracks"), track)
        for other in others:
            name = other["name"]
            assert other == {
                **last,
                "name": name,
                "base_path": f"/models/{name}",
                "model_version_policy": {"latest": {"num_versions": 1}},
            }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_configuration_holds_to_the_schema_of_ovms(scenario: str) -> None:
    rendering = render(scenario)
    assert tracks(rendering)
    for track in tracks(rendering):
        jsonschema.validate(server_config(rendering, track), SCHEMA)


@pytest.mark.parametrize("scenario", sorted(set(SCENARIOS) - {"kserve", "kserve-standard"}))
def test_every_command_line_is_one_that_the_local_engine_takes_too(scenario: str) -> None:
    rendering = render(scenario)
    for track in tracks(rendering):
        options = parse(container(server_pod(rendering, track), "ovms")["args"])
        assert options.rest_port, "metrics need the REST port"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_flag_is_one_that_all_supported_versions_of_ovms_know(scenario: str) -> None:
    servers = [
        one
        for pod in pod_specs(render(scenario)).values()
        for one in pod["containers"]
        if one["image"].startswith("openvino/model_server")
    ]
    assert servers
    for server in servers:
        assert unknown_flags(server["args"]) == {}


@pytest.mark.parametrize(("version", "ready"), [(1, {1}), (2, {2}), ("latest", {3})])
def test_a_server_with_the_rendered_configuration_serves_what_its_track_names(
    version: int | str, ready: set[int], tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        write_toy_version(tmp_path, number)
    config = server_config(render(values={"tracks": {"stable": {"version": version}}}))
    config["model_config_list"][0]["config"]["base_path"] = str(tmp_path / "bert-qa")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with LocalServer(config_path=tmp_path / "config.json") as server:
        model_url = f"http://127.0.0.1:{server.rest_port}/v2/models/bert-qa"
        answers = {
            number: httpx.get(f"{model_url}/versions/{number}/ready").status_code
            for number in (1, 2, 3)
        }
    assert {number for number, status in answers.items() if status == 200} == ready


def test_a_track_serves_its_version_and_no_other() -> None:
    rendering = render("tracks")
    for track, version in (("stable", 1), ("candidate", 2)):
        policy = model(rendering, track)["model_version_policy"]
        assert policy == {"specific": {"versions": [version]}}


def test_a_version_number_of_any_size_stays_whole() -> None:
    rendering = render(values={"tracks": {"stable": {"version": 20261123141500}}})
    policy = model(rendering)["model_version_policy"]
    assert policy == {"specific": {"versions": [20261123141500]}}
    probe = container(server_pod(rendering), "ovms")["readinessProbe"]["httpGet"]["path"]
    assert probe == "/v2/models/bert-qa/versions/20261123141500/ready"


def test_a_track_may_follow_the_latest_version() -> None:
    policy = model(render("training"))["model_version_policy"]
    assert policy == {"latest": {"num_versions": 1}}


@pytest.mark.parametrize(
    ("scenario", "path"),
    [
        ("pvc", "/models/bert-qa"),
        ("image", "/models/bert-qa"),
        ("single-node", "/models/bert-qa"),
        ("training", "/models/bert-qa"),
        ("s3", "s3://models/qa/bert-qa"),
        ("gs", "gs://models/qa/bert-qa"),
        ("azure", "az://models/qa/bert-qa"),
    ],
)
def test_the_model_is_read_where_its_source_puts_it(scenario: str, path: str) -> None:
    assert model(render(scenario))["base_path"] == path


def test_kserve_puts_the_model_where_it_always_does() -> None:
    assert model(render("kserve"), "candidate")["base_path"] == "/mnt/models/bert-qa"


def test_another_model_is_found_under_its_own_name() -> None:
    entry = model(render(values={"model": {"name": "bert-qa-onnx"}}))
    assert (entry["name"], entry["base_path"]) == ("bert-qa-onnx", "/models/bert-qa-onnx")


@pytest.mark.parametrize(
    ("cpu", "threads", "streams"),
    [(1, 1, 1), ("4", 4, 2), (8, 8, 2), ("16000m", 16, 4)],
)
def test_threads_follow_the_cpu_limit_and_streams_the_threads(
    cpu: object, threads: int, streams: int
) -> None:
    plugin = model(render(values={"resources": {"limits": {"cpu": cpu}}}))["plugin_config"]
    assert plugin == {
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": str(streams),
        "ENABLE_CPU_PINNING": "NO",
    }


MEMORIES: dict[str, int | None] = {
    "256Mi": 2**28,
    "1Gi": 2**30,
    "1500M": 1_500_000_000,
    "4Gi": 2**32,
    "64Gi": 2**36,
    "0.5Ti": 2**39,
}


def of_each_size() -> dict[str, tuple[object, int, object, int | None]]:
    """CPU limits with their cores and memory limits with their bytes, by the name of a track."""
    sizes: dict[str, tuple[object, int, object, int | None]] = {}
    memories = list(MEMORIES.items())
    for cores in (*range(1, 18), 24, 31, 32, 33, 47, 48, 63, 64):
        memory, size = memories[cores % len(memories)]
        sizes[f"whole{cores}"] = (cores, cores, memory, size)
    sizes["half"] = ("500m", 1, 1_000_000_000, 1_000_000_000)
    sizes["little"] = ("100m", 1, "64Mi", 2**26)
    sizes["odd"] = ("3500m", 3, "1.5Gi", 3 * 2**29)
    sizes["decimal"] = (2.5, 2, None, None)
    sizes["exponent"] = ("2e1", 20, "1e10", 10**10)
    sizes["enormous"] = (4, 4, "1000000P", 9 * 10**15)
    return sizes


def sized(sizes: dict[str, tuple[object, int, object, int | None]], **track: object) -> Rendering:
    """Render one release with a track for each size, which is much faster than one each."""
    tracks: dict[str, object] = {}
    for name, (cpu, _, memory, _) in sizes.items():
        limits = {"cpu": cpu} if memory is None else {"cpu": cpu, "memory": memory}
        tracks[name] = {"version": 1, "weight": 0, "resources": {"limits": limits}, **track}
    tracks["stable"] = {"version": 1, "weight": 100}
    return render(values={"xeon": {"wholeCpus": False}, "tracks": tracks})


def flags(rendering: Rendering, track: str) -> dict[str, str]:
    arguments = container(server_pod(rendering, track), "ovms")["args"]
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


def test_the_chart_chooses_every_setting_as_serve_does() -> None:
    sizes = of_each_size()
    rendering = sized(sizes, version="latest")
    for name, (_, cores, _, memory) in sizes.items():
        settings = server_settings(cores, memory)
        assert model(rendering, name)["plugin_config"] == settings.plugin_config, name
        rendered = flags(rendering, name)
        assert rendered | settings.flags() == rendered, name


def test_the_proxy_lets_through_what_the_smallest_server_holds() -> None:
    sizes = of_each_size()
    for name in ("whole4", "whole64", "little", "odd", "decimal", "enormous"):
        _, cores, _, memory = sizes[name]
        smallest = [server_settings(cores, memory), server_settings(4, 2**32)]
        config = envoy_config(sized({name: sizes[name]}))
        assert f"max_request_bytes: {min(s.max_request_bytes for s in smallest)}\n" in config
        assert f"max_requests: {min(s.concurrent_streams for s in smallest)}," in config


def envoy_config(rendering: Rendering) -> str:
    config: str = rendering.one("ConfigMap", "bert-qa-proxy")["data"]["envoy.yaml"]
    return config


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"threads": 3}, {"threads": 3}),
        ({"streams": 1}, {"streams": 1}),
        ({"streams": 2000000, "threads": 3000000}, {"streams": 2000000, "threads": 3000000}),
        ({"maxConcurrentStreams": 7}, {"concurrent_streams": 7}),
        ({"maxConcurrentStreams": 100000}, {"concurrent_streams": 100000}),
        ({"grpcMaxThreads": 2000000}, {"grpc_threads": 2000000}),
        ({"restWorkers": 64}, {"rest_workers": 64}),
        ({"pollSeconds": 30}, {"poll_seconds": 30}),
        ({"logLevel": "TRACE"}, {"log_level": "TRACE"}),
        ({"maxRequestTokens": 2000000}, {"max_request_tokens": 2000000}),
    ],
)
def test_every_setting_can_be_given_and_the_others_follow(
    given: dict[str, object], same: dict[str, Any]
) -> None:
    track = {"version": "latest", "weight": 100}
    rendering = render(values={"server": given, "tracks": {"stable": track}})
    settings = server_settings(4, 2**32, **same)
    assert model(rendering)["plugin_config"] == settings.plugin_config
    rendered = flags(rendering, "stable")
    assert rendered | settings.flags() == rendered
    assert f"max_request_bytes: {settings.max_request_bytes}\n" in envoy_config(rendering)


@pytest.mark.parametrize(("cpu", "threads"), [("1500m", 1), (2.5, 2), ("500m", 1)])
def test_a_limit_that_is_not_whole_is_rounded_down_to_threads(cpu: object, threads: int) -> None:
    values = {"xeon": {"wholeCpus": False}, "resources": {"limits": {"cpu": cpu}}}
    plugin = model(render(values=values))["plugin_config"]
    assert plugin["INFERENCE_NUM_THREADS"] == str(threads)


def test_streams_precision_and_further_settings_may_be_given() -> None:
    assert model(render("xeon"))["plugin_config"] == {
        "INFERENCE_NUM_THREADS": "16",
        "NUM_STREAMS": "4",
        "INFERENCE_PRECISION_HINT": "bf16",
        "ENABLE_CPU_PINNING": True,
    }


def test_the_metrics_that_the_dashboard_and_the_autoscalers_read_are_on() -> None:
    metrics: dict[str, Any] = server_config(render())["monitoring"]["metrics"]
    assert metrics["enable"] is True
    assert {"ovms_current_requests", "ovms_wait_for_infer_req_time_us"} <= set(
        metrics["metrics_list"]
    )


@pytest.mark.parametrize("scenario", ["pvc", "kserve"])
def test_a_pod_keeps_the_configuration_that_it_began_with(scenario: str) -> None:
    """Kubernetes brings a changed ConfigMap to a directory of a pod that runs, not to a subPath."""
    mounts = [
        mount
        for spec in pod_specs(render(scenario)).values()
        for each in spec["containers"]
        for mount in each.get("volumeMounts", ())
        if mount["name"] == "server-config"
    ]
    assert mounts
    for mount in mounts:
        assert (mount["mountPath"], mount["subPath"]) == ("/config/config.json", "config.json")
