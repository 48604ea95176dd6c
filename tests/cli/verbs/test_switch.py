from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa.client import Recorder
from tests.cli.conftest import Invoke
from tests.support.engines import Served, toy_server

SMOKE = ["--smoke-question", "When?", "--smoke-context", "1932", "--smoke-answer", "1932"]


@pytest.fixture
def at_1(engine: str, tmp_path: Path) -> Iterator[Served]:
    """A server of its own, for a switch leaves nothing as it was."""
    with toy_server(engine, tmp_path, 1, 2, policy={"specific": {"versions": [1]}}) as server:
        yield server


def where(served: Served) -> list[str]:
    return ["--repository", str(served.repository), "--url", served.rest_url, *SMOKE]


def test_there_and_back(invoke: Invoke, at_1: Served) -> None:
    there = invoke("switch", "--to", "2", *where(at_1))

    assert there.status == 0, there.err
    assert "Version 2 is the default" in there.out
    assert "version 2 on trial" in there.err

    back = invoke("switch", "--back", "--json", *where(at_1))

    switched = json.loads(back.out)
    assert (switched["split"], switched["served"]) == ({"1": 100.0}, [1])
    assert (switched["outcome"], switched["previous"], switched["retired"]) == ("moved", None, [2])

    again = invoke("switch", "--back", "--json", *where(at_1))
    assert again.status == 0
    assert "1=100 is the last good split" in again.err
    unchanged = json.loads(again.out)
    assert (unchanged["outcome"], unchanged["split"]) == ("unchanged", {"1": 100.0})
    assert unchanged.keys() == switched.keys()


def test_steps_are_held_and_what_is_missing_is_said(invoke: Invoke, at_1: Served) -> None:
    steps = ["--steps", "10,100", "--pause", "1s", "--interval", "0.2s"]
    held = invoke("switch", "--to", "2", *steps, "--json", *where(at_1))

    assert held.status == 1
    document = json.loads(held.out)
    assert (document["outcome"], document["split"]) == ("held", {"1": 90.0, "2": 10.0})
    assert [each["verdict"] for each in document["held"]] == ["Inconclusive"]
    assert document["error"] in held.err.replace("\n", " ")
    assert "Held at 1=90,2=10: Version 2 got 0 of at least 20 requests" in held.err
    assert "--on-inconclusive promote" in held.err

    promoted = invoke(
        "switch", "--to", "2", *steps, "--on-inconclusive", "promote", "--json", *where(at_1)
    )

    assert promoted.status == 0, promoted.err
    result = json.loads(promoted.out)
    assert result["split"] == {"2": 100.0}
    assert [each["verdict"] for each in result["held"]] == ["Inconclusive", "Inconclusive"]


@contextmanager
def recorded_traffic(served: Served, log: Path, contexts: bool = False) -> Iterator[None]:
    """Ask version 1 without pause while the block runs, and record what is asked."""
    ended = threading.Event()

    def ask() -> None:
        number = 0
        with QAClient(served.rest_url, version=1, recorder=recorder) as client:
            while not ended.wait(0.03):
                client.answer(f"When was number {number} opened?", "It was opened in 1932.")
                number += 1

    recorder = Recorder(log, clear=True, contexts=contexts)
    with closing(recorder), ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            ended.set()
        asking.result()


@pytest.mark.thorough
def test_a_shadow_judges_a_version_by_copies_of_what_users_ask(
    invoke: Invoke, at_1: Served, tmp_path: Path
) -> None:
    log = tmp_path / "answers.jsonl"
    shadow = ["--shadow", "3s", "--from-log", str(log), "--max-p95-factor", "100"]
    with recorded_traffic(at_1, log, contexts=True):
        result = invoke("switch", "--to", "2", *shadow, "--max-disagreement", "100", *where(at_1))

    assert result.status == 0, result.err
    assert "copies" in result.err
    assert "the split is 2=100" in result.err


@pytest.mark.thorough
def test_a_shadow_of_hashes_is_inconclusive(invoke: Invoke, at_1: Served, tmp_path: Path) -> None:
    log = tmp_path / "answers.jsonl"
    with recorded_traffic(at_1, log):
        shadow = ["--shadow", "1s", "--from-log", str(log)]
        result = invoke("switch", "--to", "2", *shadow, *where(at_1))

    assert result.status == 1
    assert "Held at 1=100: Version 2 got 0 of at least 20 copies" in result.err
    assert "record with contexts=True" in result.err


def test_a_data_set_without_questions_is_refused(
    invoke: Invoke, at_1: Served, tmp_path: Path
) -> None:
    data = tmp_path / "empty.json"
    data.write_text(json.dumps({"version": "1.1", "data": []}), encoding="utf-8")
    result = invoke("switch", "--to", "2", "--data", str(data), *where(at_1))
    assert (result.status, result.out) == (1, "")
    assert "holds no question" in result.err


def test_a_split_is_set_and_the_rest_retired(invoke: Invoke, at_1: Served) -> None:
    result = invoke("switch", "--split", "1=90,2=10", "--json", *where(at_1))
    assert json.loads(result.out)["split"] == {"1": 90.0, "2": 10.0}

    result = invoke("switch", "--to", "2", "--retire", "--json", *where(at_1))
    assert json.loads(result.out)["served"] == [2]


def test_what_failed_the_gate_ends_with_the_gate_s_status(invoke: Invoke, at_1: Served) -> None:
    manifest = {"model": "bert-qa", "version": 2, "precision": "int8", "format": "openvino"}
    rest = {"source": "", "published": "", "files": {}, "gate": {"passed": False}}
    path = at_1.repository / "bert-qa" / "2" / "manifest.json"
    path.write_text(json.dumps({**manifest, **rest}), encoding="utf-8")

    for arguments in (where(at_1), ["--release", "r", "--repository", str(at_1.repository)]):
        result = invoke("switch", "--to", "2", *arguments)
        assert result.status == 3
        assert "failed the quality gate" in result.err


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ([], 2, "exactly one of --to VERSION"),
        (["--to", "2", "--back"], 2, "exactly one of --to VERSION"),
        (["--split", "1=90,2=20"], 2, "sums to 110"),
        (["--split", "half"], 2, "cannot be read"),
        (["--to", "9"], 1, "no version 9 of bert-qa (published: 1, 2)"),
        (["--to", "2", "--timeout", "soon"], 2, "The duration 'soon' cannot be read"),
        (["--to", "2", "--step-timeout", "0"], 2, "has to be above 0"),
        (["--to", "2", "--steps", "50,10"], 2, "do not ascend"),
        (["--to", "2", "--steps", "half"], 2, "write percents"),
        (["--to", "2", "--shadow", "10m"], 2, "--shadow and --from-log go together"),
        (["--to", "2", "--pause", "5s", "--initial-delay", "9s"], 2, "measures nothing"),
        (["--to", "2", "--interval", "0"], 2, "interval has to be above 0"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_changes(
    invoke: Invoke, at_1: Served, arguments: list[str], status: int, complaint: str
) -> None:
    before = (at_1.repository / "config.json").read_bytes()
    result = invoke("switch", *arguments, *where(at_1))
    assert (result.status, result.out) == (status, "")
    assert complaint in result.err
    assert "Traceback" not in result.err
    assert (at_1.repository / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--smoke-question", "When?"], "lacks --smoke-context and --smoke-answer"),
        (
            ["--release", "bert-qa", "--url", "localhost"],
            "--url is for one server, not for a release",
        ),
        (["--release", "bert-qa", "--retire"], "--retire is for one server"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    invoke: Invoke, arguments: list[str], complaint: str
) -> None:
    result = invoke("switch", "--to", "2", *arguments)
    assert result.status == 2
    assert complaint in result.err


def test_a_cluster_that_cannot_be_reached_is_named(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM", "helm-of-nowhere")
    config = tmp_path / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    config.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(config))
    for verb in (["switch", "--to", "2"], ["versions"], ["compare", "1", "2", "--serve"]):
        result = invoke(*verb, "--release", "bert-qa")
        assert result.status == 1
        assert "There is no helm-of-nowhere on PATH" in result.err
