"""The whole life of a release on a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from tests.deploy.helm.golden import RELEASED
from tests.support.asking import asking
from tests.support.chart import CHART
from tests.support.release import Release, image_of, values
from tools.programs import helm

CLIENT, MODEL = ({"repository": f"bert-qa-{name}", "tag": ""} for name in ("client", "model"))

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]


def test_a_release_is_installed_asked_upgraded_rolled_back_and_removed(release: Release) -> None:
    release.upgrade(values())
    assert release.versions() == {"stable": "1"}
    release.test()

    candidate = {"version": 2, "weight": 0, "replicas": 1}
    with_candidate = values()
    with_candidate["tracks"]["candidate"] = candidate
    release.upgrade(with_candidate)
    assert release.versions() == {"stable": "1", "candidate": "2"}
    release.test()

    promoted = values()
    promoted["tracks"]["stable"]["version"] = 2
    release.upgrade(promoted)
    assert release.versions() == {"stable": "2"}
    release.test()

    release.helm("rollback", release.name, "2", "--wait", "--timeout", "10m")
    assert release.versions() == {"stable": "1", "candidate": "2"}
    release.test()

    release.helm("uninstall", release.name, "--wait", "--timeout", "5m")
    assert release.left() == set()


def test_the_chart_comes_up_without_values(release: Release) -> None:
    if os.environ.keys() & {f"BERTQA_{name}_IMAGE" for name in ("MODEL", "CLIENT", "SERVER")}:
        pytest.skip("BERTQA_..._IMAGE names other images than the chart's own")
    release.upgrade({})
    assert release.versions() == {"stable": "latest"}
    release.test()


def test_an_upgrade_from_the_chart_before_loses_no_request(release: Release) -> None:
    """With what a user has set, and what `helm upgrade` is to be given by the chart's README."""
    before = {**values(), "test": {"image": image_of(values()["test"].get("image", CLIENT))}}
    before["model"] = {"image": {"reference": image_of(values()["model"].get("image", MODEL))}}
    before["httpApi"]["replicas"] = 2
    release.upgrade(before, chart=RELEASED / "bert-qa-0.1.0.tgz")
    service = f"{release.name}-bert-qa"
    urls = (f"grpc://{service}:9000", f"http://{service}:8000")
    asked = {"image": before["test"]["image"], "question": "When?", "context": "In 1932."}
    with asking(release, urls, asked) as clients:
        clients.answers_from_now(50)
        kept = ("--reset-then-reuse-values", "--set", "size=medium")
        release.upgrade({}, *kept)
        clients.answers_from_now(200)
    assert release.versions() == {"stable": "1"}
    release.test()


ASK = """
import collections, json, urllib.request
body = json.dumps({"inputs": {"question": "When?", "context": "It was opened in 1932."}}).encode()
headers = {"Content-Type": "application/json"}
asked = urllib.request.Request("http://127.0.0.1:8080", body, headers)
versions = collections.Counter(
    urllib.request.urlopen(asked, timeout=60).headers["x-model-version"] for _ in range(40)
)
print(json.dumps(versions))
"""


def test_weights_split_what_is_asked_over_http_without_a_gateway(release: Release) -> None:
    def pods() -> set[str]:
        labels = "--selector=app.kubernetes.io/component=http-api"
        return set(release.kubectl("get", "pods", labels, "--output", "name").split())

    def versions() -> set[str]:
        deployment = f"deployment/{release.name}-bert-qa-http-api"
        return set(json.loads(release.kubectl("exec", deployment, "--", "python", "-c", ASK)))

    def follow(stable: int, candidate: int, wanted: set[str]) -> None:
        given = values()
        given["tracks"]["stable"]["weight"] = stable
        given["tracks"]["candidate"] = {"version": 2, "weight": candidate, "replicas": 1}
        release.upgrade(given)
        deadline = time.monotonic() + 180
        while versions() != wanted:
            assert time.monotonic() < deadline

    release.upgrade(values())
    assert versions() == {"1"}
    before = pods()
    follow(50, 50, {"1", "2"})
    follow(0, 100, {"2"})
    assert pods() == before
    release.test()


def test_a_wrong_value_installs_nothing(release: Release) -> None:
    wrong = {**values(), "tracks": {"stable": {"weight": 60}}}
    command = [str(helm()), "install", release.name, str(CHART), "--values", "-"]
    refused = subprocess.run(
        [*command, *release.namespace],
        input=json.dumps(wrong),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "The weights of the tracks sum to 60, not to 100" in refused.stderr
    assert release.left() == set()
