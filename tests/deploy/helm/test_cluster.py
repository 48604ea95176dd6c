"""The whole life of a release on a real cluster."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.support.chart import CHART
from tests.support.release import Release, values
from tools.programs import helm

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
