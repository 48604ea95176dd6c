"""templates/_switched.tpl: no upgrade undoes a switch unseen; a switch's own are not refused.

Nor does one lead all requests to a track of which no pod is ready.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.cluster.api_server import ApiServer, running
from tests.deploy.helm import rendered
from tests.support.chart import CHART, NAMESPACE, RELEASE
from tests.support.ports import free_port
from tools.programs import helm, older_helm

OLD, NEW = {"version": 1, "replicas": 1}, {"version": 2, "replicas": 1}
FIRST: dict[str, Any] = {"tracks": {"stable": {**OLD, "weight": 100}}}
BETWEEN: dict[str, Any] = {
    "tracks": {"stable": {**OLD, "weight": 90}, "v2": {**NEW, "weight": 10}},
    "rollout": {"good": "1=100", "goal": "2=100"},
}
LAST: dict[str, Any] = {
    "tracks": {"stable": None, "v2": {**NEW, "weight": 100}},
    "rollout": {"good": "2=100", "previous": "1=100"},
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run helm on a cluster, with values as its standard input."""
    kubeconfig = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))

    def run(
        *arguments: str, values: dict[str, Any] | None = None, program: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [str(program or helm()), *arguments, "--namespace", NAMESPACE]
        return subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, check=False
        )

    with running(ApiServer({1: 0, 2: 0}), free_port(), kubeconfig):
        yield run


def upgrade(run: Run, values: dict[str, Any] | None, *flags: str, **options: Any) -> str | None:
    """Upgrade to values, or with flags alone, and return the sentence of a refusal."""
    given = () if values is None else ("--reset-values", "--values", "-")
    command = ("upgrade", "--install", RELEASE, str(CHART), *given, *flags)
    return rendered.refused(run(*command, values=values, **options))


def switched(run: Run) -> None:
    """Install a release and do what `bert-qa switch` does to it."""
    for values in (FIRST, BETWEEN, LAST):
        assert upgrade(run, values) is None


@pytest.mark.parametrize("program", [helm, older_helm])
def test_values_that_would_undo_a_switch_are_refused(run: Run, program: Callable[[], Path]) -> None:
    switched(run)
    refusal = upgrade(run, None, "--set", "podLabels.team=qa", program=program())
    assert refusal is not None
    assert "gave the release the split 2=100" in refusal
    assert "they say latest=100" in refusal
    assert (
        "Add --reset-then-reuse-values, or set the tracks as `helm get values bert-qa`" in refusal
    )
    assert "they say 1=100" in str(upgrade(run, FIRST))
    flags = ("--reset-then-reuse-values", "--set", "podLabels.team=qa")
    assert upgrade(run, None, *flags, program=program()) is None


def test_values_that_name_the_tracks_of_a_switch_are_taken(run: Run) -> None:
    switched(run)
    assert upgrade(run, {"tracks": LAST["tracks"]}) is None
    refusal = upgrade(run, FIRST)
    assert "from the track v2 to the track stable" in str(refusal), "no switch is noted"


def test_an_owner_who_weighs_anew_after_a_switch_is_not_held_to_it(run: Run) -> None:
    between = {"tracks": {"stable": {**OLD, "weight": 40}, "v2": {**NEW, "weight": 60}}}
    assert upgrade(run, {**between, "rollout": {"good": "1=40,2=60"}}) is None
    weighed = {"tracks": {"stable": {**OLD, "weight": 80}, "v2": {**NEW, "weight": 20}}}
    assert upgrade(run, weighed, "--set", r"rollout.good=1=40\,2=60") is None
    assert upgrade(run, weighed) is None


@pytest.mark.parametrize(
    ("reuses", "last"),
    [
        ((), {"tracks": LAST["tracks"]}),
        (("--reset-then-reuse-values",), LAST),
        (("--reset-then-reuse-values",), {**LAST, "rollout": {"good": "2=100"}}),
    ],
    ids=["without a switch", "after a switch", "after one that failed"],
)
def test_no_upgrade_leads_all_requests_to_a_track_without_ready_pods(
    run: Run, reuses: tuple[str, ...], last: dict[str, Any]
) -> None:
    """As the values of before a switch do, even beside those of the release."""
    file = {"tracks": {"stable": {**OLD, "weight": 100}, "v2": {**NEW, "weight": 0}}}
    assert upgrade(run, file) is None
    assert upgrade(run, {"tracks": BETWEEN["tracks"]}) is None
    assert upgrade(run, last) is None

    back = ("upgrade", RELEASE, str(CHART), "--values", "-", *reuses)
    refusal = rendered.refused(run(*back, values=file))
    assert refusal is not None
    assert "all requests from the track v2 to the track stable, of which no pod is ready" in refusal
    assert f"`kubectl --namespace {NAMESPACE} rollout status deployment/bert-qa-stable`" in refusal
    waits = {"tracks": {"stable": {**OLD, "weight": 0}, "v2": {**NEW, "weight": 100}}}
    assert rendered.refused(run(*back, values=waits)) is None
    assert rendered.refused(run(*back, values=file)) is None


def test_a_release_that_serves_nothing_takes_any_track(run: Run) -> None:
    assert upgrade(run, {"tracks": {"stable": {"version": 9, "weight": 100}}}) is None
    assert upgrade(run, {"tracks": {"stable": None, "v2": {**NEW, "weight": 100}}}) is None


@pytest.mark.parametrize("good", ["2=100", "2=60,10=40"])
def test_the_refusal_has_the_words_to_go_by_the_values_alone(run: Run, good: str) -> None:
    assert upgrade(run, {**LAST, "rollout": {"good": "2=100", "goal": good}}) is None
    assert upgrade(run, {**LAST, "rollout": {"good": good, "goal": "2=100"}}) is None
    refusal = upgrade(run, FIRST)
    assert refusal is not None
    found = re.search("add (--set '.*'): ", refusal)
    assert found is not None
    assert upgrade(run, FIRST, *shlex.split(found[1])) is None
    assert json.loads(run("get", "values", RELEASE, "--output", "json").stdout)["rollout"] == {
        "good": good,
        "returning": True,
    }
    assert upgrade(run, FIRST) is None, "the release goes by these values already"


def test_a_split_is_the_same_in_any_order(run: Run) -> None:
    tracks = {
        "stable": {"version": 10, "weight": 40},
        "candidate": {"version": 2, "weight": 60},
        "idle": {"version": 3, "weight": 0},
    }
    assert upgrade(run, {"tracks": tracks, "rollout": {"good": "2=60,3=0,10=40"}}) is None
    assert upgrade(run, {"tracks": tracks}) is None


def test_where_nothing_splits_the_traffic_the_greatest_weight_has_it_all(run: Run) -> None:
    plain = {**BETWEEN, "httpApi": {"enabled": False}}
    assert upgrade(run, plain) is None
    assert upgrade(run, {**plain, "rollout": {}}) is None


def test_the_first_upgrade_of_a_switch_may_be_taken_back(run: Run) -> None:
    """One that was killed returns to the values of before, which have no memory."""
    assert upgrade(run, FIRST) is None
    assert upgrade(run, BETWEEN) is None
    assert upgrade(run, FIRST) is None


def test_a_rollback_is_not_refused_nor_is_what_follows_it(run: Run) -> None:
    switched(run)
    assert run("rollback", RELEASE, "1").returncode == 0
    assert upgrade(run, FIRST) is None


def test_the_values_that_the_readme_has_for_a_repository_move_the_traffic(run: Run) -> None:
    text = (CHART / "README.md").read_text("utf-8").partition("### Argo CD and Flux")[2]
    (block,) = re.findall("```yaml\n(.*?)```", text, flags=re.DOTALL)
    values = yaml.safe_load(block)
    assert upgrade(run, {**values, "rollout": {"good": "1=90,2=10"}}) is None
    assert upgrade(run, values) is None, "they are another split than they say"


def test_a_release_that_was_never_switched_takes_any_values(run: Run) -> None:
    assert upgrade(run, FIRST) is None
    assert upgrade(run, None, "--set", "tracks.stable.version=2") is None
