"""What is shown of a release, and comparing its tracks, by the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bertqa_cli import main
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import GATEWAY, NAMESPACE, RELEASE, Install
from tests.support.documents import check_document
from tools.programs import helm

CANDIDATE = ("--set", "tracks.candidate.version=2", "--set", "tracks.candidate.weight=10")
STABLE = ("--set", "tracks.stable.weight=90")
WHERE = ("--release", RELEASE, "--namespace", NAMESPACE)


@pytest.fixture(autouse=True)
def tracks(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", str(helm()))
    install(*GATEWAY, *CANDIDATE, *STABLE)


def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str]:
    monkeypatch.setattr(sys, "argv", ["bert-qa", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.run()
    out, err = capsys.readouterr()
    if "--json" in arguments:
        check_document(arguments, out)
    return ended.value.code, out + err


def test_versions_shows_tracks_weights_and_pods(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], api: ApiServer
) -> None:
    status, shown = typed(monkeypatch, capsys, "versions", *WHERE, "--json")
    candidate, stable = json.loads(shown)["tracks"]
    assert status == 0
    assert (stable["track"], stable["version"], stable["weight"]) == ("stable", 1, 90)
    assert (candidate["track"], candidate["version"], candidate["weight"]) == ("candidate", 2, 10)
    assert [pod["name"] for pod in candidate["pods"]] == [
        "bert-qa-candidate-0",
        "bert-qa-candidate-1",
    ]
    _, shown = typed(monkeypatch, capsys, "versions", *WHERE)
    assert "1 of 1" in shown
    assert "2 of 2" in shown


def test_where_a_rollout_stands_is_read_and_nothing_is_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], api: ApiServer
) -> None:
    switch = ("switch", *WHERE)
    status, shown = typed(monkeypatch, capsys, *switch, "--status", "--json")
    document = json.loads(shown)
    assert (status, document["phase"]) == (0, "complete")
    assert (document["split"], document["served"]) == ({"1": 90.0, "2": 10.0}, [1, 2])

    smoke = ("--smoke-question", "?", "--smoke-context", "1932", "--smoke-answer", "1932")
    steps = ("--steps", "50,100", "--pause", "0.4s", "--interval", "0.2s")
    status, shown = typed(monkeypatch, capsys, *switch, *smoke, *steps, "--to", "2")
    assert status == 1
    assert "Held at 1=50,2=50" in shown

    weights = list(api.weights)
    _, shown = typed(monkeypatch, capsys, *switch, "--status", "--json")
    document = json.loads(shown)
    assert (document["phase"], document["split"]) == ("held", {"1": 50.0, "2": 50.0})
    assert (document["goal"], document["previous"]) == ({"2": 100.0}, {"1": 90.0, "2": 10.0})
    assert "of at least 20 requests" in document["held_reason"]
    _, shown = typed(monkeypatch, capsys, *switch, "--status")
    assert "A rollout from 1=90,2=10 to 2=100 is under way" in shown
    assert api.weights == weights


def test_tracks_are_compared_through_tunnels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    context = "The bridge was designed by Anna Berg."
    question = {"id": "1", "question": "Who?", "answers": [{"text": "Anna", "answer_start": 27}]}
    document = {"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]}
    data = tmp_path / "one.json"
    data.write_text(json.dumps(document), encoding="utf-8")
    compare = ("compare", "stable", "2", "--data", str(data), *WHERE, "--json")
    status, shown = typed(monkeypatch, capsys, *compare)
    assert status == 0
    found = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
    assert [system["name"] for system in found["metrics"]] == ["version 1", "version 2"]

    status, shown = typed(monkeypatch, capsys, "compare", "stable", "9", "--serve", *WHERE)
    assert status == 1
    assert "no ready track 9 (tracks: candidate (version 2), stable (version 1))" in shown


def test_the_switch_is_typed_as_for_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], api: ApiServer
) -> None:
    switch = ("switch", *WHERE, "--steps", "50,100", "--pause", "0s")
    smoke = ("--smoke-question", "?", "--smoke-context", "1932", "--smoke-answer", "1932")
    status, shown = typed(monkeypatch, capsys, *switch, *smoke, "--to", "2")
    assert status == 0
    assert "the split is 1=50,2=50" in shown
    assert "The split of release bert-qa is 2=100" in shown

    status, shown = typed(monkeypatch, capsys, *switch, "--to", "2")
    assert status == 0
    assert "The split is 2=100 already" in shown
