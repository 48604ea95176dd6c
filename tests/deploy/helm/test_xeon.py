"""_xeon.tpl and docs/xeon.md: whole cores of one NUMA node for each server."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.chart import (
    ROOT,
    SCENARIOS,
    Manifest,
    container,
    refusal,
    render,
    server_config,
    server_pod,
)

DOCUMENT = ROOT / "docs" / "xeon.md"
UNITS = {"Mi": 1, "Gi": 1024}


def two_sockets(**xeon: Any) -> dict[str, Any]:
    memory = {"limits": {"memory": "8Gi"}}
    return {"resources": memory, "xeon": {"coresPerPod": 36, "coresPerNumaNode": 38, **xeon}}


def blocks() -> list[Any]:
    found = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    return [yaml.safe_load(block) for block in found]


def plugin_config(values: dict[str, Any]) -> Manifest:
    config = server_config(render(values=values))["model_config_list"][0]["config"]
    return dict(config["plugin_config"])


@pytest.mark.parametrize(
    ("xeon", "cpu", "threads", "streams"),
    [
        ({}, "72", "36", "9"),
        ({"threadsPerCore": 1}, "36", "36", "9"),
        ({"coresPerPod": 18, "coresPerNumaNode": 19}, "36", "18", "4"),
        ({"coresPerPod": 18}, "36", "18", "4"),
    ],
)
def test_a_server_has_whole_cores_and_a_thread_for_each(
    xeon: dict[str, Any], cpu: str, threads: str, streams: str
) -> None:
    values = two_sockets(**xeon)
    resources = container(server_pod(render(values=values)), "ovms")["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": cpu, "memory": "8Gi"}
    plugin = plugin_config(values)
    assert (plugin["INFERENCE_NUM_THREADS"], plugin["NUM_STREAMS"]) == (threads, streams)
    hyperthreads = xeon.get("threadsPerCore", 2) == 2
    assert "ENABLE_CPU_PINNING" not in plugin  # The cores are its own.
    assert plugin.get("ENABLE_HYPER_THREADING") is (False if hyperthreads else None)


def test_every_track_has_them() -> None:
    candidate = {"version": 2, "resources": {"limits": {"memory": "8Gi"}}}
    rendering = render(values={**two_sockets(), "tracks": {"candidate": candidate}})
    for track in ("stable", "candidate"):
        assert container(server_pod(rendering, track), "ovms")["resources"]["limits"]["cpu"] == "72"


def test_threads_and_hyperthreads_of_ones_own_are_taken() -> None:
    server = {"threads": 72, "pluginConfig": {"ENABLE_HYPER_THREADING": True}}
    plugin = plugin_config({**two_sockets(), "server": server})
    assert plugin["INFERENCE_NUM_THREADS"] == "72"
    assert plugin["ENABLE_HYPER_THREADING"] is True


def test_nothing_of_it_is_there_by_default() -> None:
    assert "ENABLE_HYPER_THREADING" not in plugin_config({})
    assert "GLIBC_TUNABLES" not in render().text


@pytest.mark.parametrize(
    ("values", "percent"),
    [
        ({}, 60),
        (two_sockets(), 30),
        (two_sockets(threadsPerCore=1), 60),
        ({"size": "medium", "server": {"threads": 2}}, 30),
        ({"server": {"threads": 400}}, 60),
    ],
)
def test_an_autoscaler_counts_the_threads_and_not_cpus_that_have_none(
    values: dict[str, Any], percent: int
) -> None:
    (metric,) = render("autoscaling", values).one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["containerResource"]["target"]["averageUtilization"] == percent
    keda = render("autoscaling", {**values, "autoscaling": {"keda": {"enabled": True}}})
    (trigger,) = keda.one("ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["value"] == str(percent)


@pytest.mark.parametrize("scenario", ["pvc", "s3", "gs", "kserve", "kserve-standard", "rollouts"])
def test_huge_pages_are_requested_and_used_by_servers_alone(scenario: str) -> None:
    rendering = render(scenario, {"xeon": {"hugePages": "2Gi"}})
    assert rendering.text.count("GLIBC_TUNABLES") == 1
    assert rendering.text.count("hugepages-2Mi: 2Gi") == 2
    before = render(scenario).text.splitlines()
    kept = [line for line in rendering.text.splitlines() if "config:" not in line]
    assert not [line for line in before if "config:" not in line and line not in kept]


GUARANTEED = {"limits": {"cpu": "1500m", "memory": "1Gi"}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more cores than a NUMA node has": (
        two_sockets(coresPerPod=40),
        "xeon.coresPerPod (40) is above xeon.coresPerNumaNode (38)",
    ),
    "less memory than its streams need": (
        {**two_sockets(), "resources": {}, "size": "small"},
        "a memory limit of 2Gi for 9 streams, which need 384Mi each",
    ),
    "no memory limit": (
        {**two_sockets(), "resources": {"limits": {"memory": None}}},
        "The track stable has no memory limit",
    ),
    "cores of a NUMA node that are not given": (
        two_sockets(coresPerNumaNode=0),
        "xeon.coresPerPod needs xeon.coresPerNumaNode",
    ),
    "a proxy for which there is no room": (
        two_sockets(coresPerPod=38),
        "needs 76500m CPUs, more than the 76000m of a NUMA node",
    ),
    "other containers for which there is no room": (
        {
            **two_sockets(coresPerPod=37),
            "server": {"extraContainers": [{"name": "beside", "resources": GUARANTEED}] * 2},
        },
        "needs 77500m CPUs, more than the 76000m of a NUMA node",
    ),
    "cores of which the scheduler would place too many": (
        two_sockets(coresPerPod=20),
        "holds 1, but the scheduler would send a node of two such 3",
    ),
    "a proxy that would have half a core": (
        {**two_sockets(), "proxy": {"resources": {"limits": {"cpu": "1000m"}}}},
        "The container proxy has 1000m CPUs, which are whole but no whole cores of 2 each",
    ),
    "a proxy whose requests differ from its limits": (
        {**two_sockets(), "proxy": {"resources": {"requests": {"cpu": "100m"}}}},
        "The container proxy has no limits of CPU and memory that are its requests as well",
    ),
    "a container without limits beside the server": (
        {**two_sockets(), "server": {"extraContainers": [{"name": "beside", "image": "b"}]}},
        "The container beside has no limits of CPU and memory",
    ),
    "a memory limit of nothing": (
        {**two_sockets(), "resources": {"limits": {"memory": "0"}}},
        "The track stable has no memory limit",
    ),
    "requests of memory that differ from its limit": (
        {**two_sockets(), "resources": {"requests": {"memory": "1Gi"}}},
        "The track stable has requests that differ from its limits",
    ),
    "a track with CPUs of its own": (
        {
            **two_sockets(),
            "tracks": {"stable": {"resources": {"limits": {"cpu": 8, "memory": "4Gi"}}}},
        },
        "The track stable has a CPU limit of 8, and xeon.coresPerPod makes it 72",
    ),
    "cores that are not to be whole": (
        two_sockets(wholeCpus=False),
        "xeon.coresPerPod does not go with xeon.wholeCpus=false",
    ),
    "huge pages that are not whole": (
        {"xeon": {"hugePages": "3Mi"}},
        "xeon.hugePages (3Mi) is not a multiple of 2Mi",
    ),
}


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_placed_is_refused(values: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(values)


def test_kserve_reserves_no_cores() -> None:
    for scenario in ("kserve", "kserve-standard"):
        assert "xeon.coresPerPod does not go with kserve.enabled" in refusal(
            two_sockets(), scenario
        )


@pytest.mark.parametrize(
    "values",
    [
        two_sockets(coresPerPod=37),
        two_sockets(coresPerPod=20, numaScheduler="topology-aware"),
        {**two_sockets(), "proxy": {"resources": {"limits": {"cpu": "2"}}}},
        {
            **two_sockets(threadsPerCore=1),
            "proxy": {"resources": {"limits": {"cpu": "1"}}},
        },
        {
            **two_sockets(),
            "tracks": {"stable": {"resources": {"limits": {"cpu": "72000m", "memory": "4Gi"}}}},
        },
        {**two_sockets(), "server": {"extraContainers": [{"name": "b", "resources": GUARANTEED}]}},
    ],
)
def test_what_can_be_placed_is_not_refused(values: dict[str, Any]) -> None:
    assert render(values=values)


def test_the_values_of_the_example_are_those_of_its_scenario() -> None:
    _, values = blocks()
    scenario = yaml.safe_load(SCENARIOS["two-sockets"].read_text("utf-8"))
    assert {**values, "model": scenario["model"]} == scenario


def test_the_kubelet_of_the_example_reserves_what_it_says() -> None:
    kubelet, values = blocks()

    def mebibytes(quantity: str) -> int:
        return int(quantity[:-2]) * UNITS[quantity[-2:]]

    # The kubelet does not start where these differ.
    reserved = sum(mebibytes(one["limits"]["memory"]) for one in kubelet["reservedMemory"])
    assert reserved == (
        mebibytes(kubelet["kubeReserved"]["memory"])
        + mebibytes(kubelet["systemReserved"]["memory"])
        + mebibytes(kubelet["evictionHard"]["memory.available"])
    )
    cpus = set()
    for part in kubelet["reservedSystemCPUs"].split(","):
        first, last = map(int, part.split("-"))
        cpus |= set(range(first, last + 1))
    for first_core in (0, 40):
        cores = [core for core in range(first_core, first_core + 40) if core not in cpus]
        assert len(cores) == values["xeon"]["coresPerNumaNode"]
        assert all(core + 80 not in cpus for core in cores)
    options = kubelet["cpuManagerPolicyOptions"]
    assert options == {"full-pcpus-only": "true"}, "options are texts"


def test_the_pods_of_its_tables_are_ones_that_the_chart_makes() -> None:
    rows = re.findall(r"^\| (?:off|SNC-2) \|.*\|$", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    assert len(rows) == 3
    for row in rows:
        _, _, node, cores, per_core, cpus, settings, _ = (
            cell.strip() for cell in row.strip("|").split("|")
        )
        values = two_sockets(
            coresPerPod=int(cores), coresPerNumaNode=int(node), threadsPerCore=int(per_core)
        )
        limits = container(server_pod(render(values=values)), "ovms")["resources"]["limits"]
        plugin = plugin_config(values)
        assert limits["cpu"] == cpus
        assert f"{plugin['INFERENCE_NUM_THREADS']}, {plugin['NUM_STREAMS']}" == settings
