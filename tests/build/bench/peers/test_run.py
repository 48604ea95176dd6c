from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository, own_precision
from bertqa.errors import RepositoryError
from bertqa.evaluation import SquadDataset
from bertqa.runtime import Engine, load
from bertqa.runtime.openvino import PRECISION_HINT, OpenVINOEngine, core
from bertqa_build.bench.peers import ours, run
from bertqa_build.bench.peers.contract import Job
from bertqa_build.bench.peers.plan import Kind, Peer, Plan
from bertqa_build.bench.peers.run import compare_peers
from bertqa_build.bench.process import Worker
from bertqa_build.machine import machine
from bertqa_build.recipe_data import RecipeData
from bertqa_serve.selection import OVMS_BINARY
from tests.support.demo import DemoBuild

FP32, INT8 = "ours, in process FP32", "ours, in process INT8"
CORE = min(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def dataset(demo_build: DemoBuild) -> SquadDataset:
    whole = RecipeData(demo_build.recipe).evaluation
    return replace(whole, questions=whole.questions[:3])


@pytest.fixture
def plan(demo_build: DemoBuild, dataset: SquadDataset) -> Plan:
    kinds = (Kind.IN_PROCESS,)
    return Plan(demo_build.recipe, demo_build.repository, dataset, (CORE,), rounds=2, kinds=kinds)


def turns(events: list[Progress]) -> list[tuple[str, str]]:
    return [(each.stage, each.note) for each in events if each.stage.startswith("Round")]


def no_process(*_: object) -> None:
    raise AssertionError("A process is started.")


def test_peers_take_turns_and_each_round_is_kept(plan: Plan, tmp_path: Path) -> None:
    events: list[Progress] = []

    found = compare_peers(plan, tmp_path, events.append)

    assert turns(events) == [
        (f"Round {number} of 2", name) for number in (1, 2) for name in (FP32, INT8)
    ]
    assert found.machine == machine()
    assert (found.threads, found.questions, found.rounds) == (1, 3, 2)
    assert found.best_foreign is None
    document = found.to_dict()
    assert [each["name"] for each in document["peers"]] == [FP32, INT8]
    for row, each in zip(found.rows, document["peers"], strict=True):
        assert len(each["samples_seconds"]) == 2
        assert each["questions_per_second"] == pytest.approx(3 / row.samples.median)
        assert each["ratio_to_best_foreign"] is None
        assert each["packages"]["openvino"]
        assert each["f1"] > 50
    assert document["reference"] == FP32
    assert document["peers"][0]["f1_loss"] == 0

    events.clear()
    assert found.kept is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "worker", no_process)
        kept = compare_peers(plan, tmp_path, events.append)
    assert kept.kept is not None
    assert kept.kept.rounds == 4
    assert datetime.fromisoformat(kept.kept.until) <= datetime.now(UTC)
    assert replace(kept, kept=None) == found
    assert not events

    longer = compare_peers(replace(plan, rounds=3), tmp_path, events.append)
    assert turns(events) == [("Round 3 of 3", FP32), ("Round 3 of 3", INT8)]
    assert [row.seconds[:2] for row in longer.rows] == [row.seconds for row in found.rows]


def test_in_process_computes_in_what_a_server_of_this_machine_does(
    demo_build: DemoBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints: list[str] = []

    def loaded(path: Path) -> Engine:
        engine = load(path)
        assert isinstance(engine, OpenVINOEngine)
        hints.append(engine.compiled.get_property(PRECISION_HINT).get_type_name())
        return engine

    monkeypatch.setattr(ours, "load", loaded)
    root = str(demo_build.repository.root)
    with ours.opened(Job("in-process", "FP32", root, "bert-qa", 1, (CORE,), 384, 128, 64, False)):
        by_itself = core().get_property("CPU", PRECISION_HINT).get_type_name()
        assert hints == [own_precision() or by_itself]


def test_what_was_measured_before_an_interruption_is_kept(plan: Plan, tmp_path: Path) -> None:
    def interrupted(progress: Progress) -> None:
        if (progress.stage, progress.note) == ("Round 1 of 2", INT8):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_peers(plan, tmp_path, interrupted)
    events: list[Progress] = []
    compare_peers(plan, tmp_path, events.append)

    assert turns(events)[0] == ("Round 1 of 2", INT8)
    assert len(turns(events)) == 3


def test_other_calibration_is_another_measurement(plan: Plan, tmp_path: Path) -> None:
    """Optimum Intel quantises on it, whatever was published."""
    once = replace(plan, rounds=1)
    compare_peers(once, tmp_path)
    fewer = once.recipe.quantization.model_copy(update={"calibration_windows": 3})
    recipe = once.recipe.model_copy(update={"quantization": fewer})

    assert compare_peers(once, tmp_path).kept is not None
    assert compare_peers(replace(once, recipe=recipe), tmp_path).kept is None


def test_what_is_served_answers_as_in_process_and_its_server_ends(
    plan: Plan, tmp_path: Path
) -> None:
    plan = replace(plan, rounds=1, kinds=(Kind.IN_PROCESS, Kind.LOCAL))

    found = compare_peers(plan, tmp_path)

    scores = {str(row.peer): (row.f1, row.exact_match) for row in found.measured}
    assert scores["ours, local engine FP32"] == scores[FP32]
    assert scores["ours, local engine INT8"] == scores[INT8]
    processes = subprocess.check_output(["ps", "-eo", "args"], text=True)
    assert str(tmp_path) not in processes


def test_peers_that_cannot_be_run_are_rows_with_the_reason(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv(OVMS_BINARY, raising=False)
    monkeypatch.setenv("PATH", "")

    events: list[Progress] = []
    plan = replace(plan, rounds=1, kinds=tuple(Kind))
    found = compare_peers(plan, tmp_path, events.append)

    reasons = {row.peer.kind: row.reason for row in found.rows}
    assert "transformers 4 cannot be installed" in reasons[Kind.OPTIMUM_INTEL]
    assert "No matching distribution" in reasons[Kind.ONNX_RUNTIME]
    assert "DeepSparse 1.8.0 cannot be installed" in reasons[Kind.DEEPSPARSE]
    assert "There is no ovms on this machine" in reasons[Kind.OVMS]
    assert all(row.reason for row in found.rows if not row.peer.kind.is_ours)
    stages = [each.stage for each in events if each.stage.startswith("Installing")]
    assert len(stages) == len(set(stages)) == 2
    assert not reasons[Kind.IN_PROCESS]
    absent = next(each for each in found.to_dict()["peers"] if each["kind"] == "ovms")
    assert (absent["questions_per_second"], absent["f1"], absent["samples_seconds"]) == (
        None,
        None,
        [],
    )
    assert not list((tmp_path / "bench" / "peers").glob("transformers-*/"))


def test_a_peer_that_fails_does_not_stop_the_others(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**arguments: Any) -> Job:
        wrong = {"path": str(tmp_path)} if arguments["version"] == 2 else {}
        return Job(**(arguments | wrong))

    monkeypatch.setattr(run, "Job", broken)
    found = compare_peers(plan, tmp_path)

    fp32, int8 = found.rows
    assert len(fp32.seconds) == 2
    assert not int8.seconds
    assert f"{INT8} ended with exit status 1: " in int8.reason


def test_where_memory_is_short_a_process_ends_before_the_next_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "available_memory", lambda: 0)
    alive: list[int] = []
    started = run._Run._started

    def counted(self: run._Run, peer: Peer) -> Worker:
        process = started(self, peer)
        alive.append(len(self._open))
        return process

    monkeypatch.setattr(run._Run, "_started", counted)
    found = compare_peers(plan, tmp_path)

    assert alive == [1] * 4
    assert all(len(row.seconds) == 2 for row in found.rows)


def test_a_repository_without_the_recipe_s_versions_is_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="has no FP32 version of bert-qa that the recipe"):
        compare_peers(replace(plan, repository=Repository(tmp_path)), tmp_path)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_the_others_answer_as_ours(plan: Plan, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(tmp_path))
    if subprocess.run([*pip, "transformers==4.57.6"], capture_output=True, check=False).returncode:
        pytest.skip("pip reaches no index with transformers 4")
    kinds = (Kind.PYTORCH, Kind.OPTIMUM_INTEL, Kind.ONNX_RUNTIME, Kind.IN_PROCESS)

    found = compare_peers(replace(plan, rounds=1, kinds=kinds), tmp_path)

    assert not [row.reason for row in found.rows if row.reason]
    fp32 = {str(row.peer): row.f1 for row in found.rows if row.peer.precision == "FP32"}
    assert len(fp32) == 4
    assert set(fp32.values()) == {fp32[FP32]}
    assert found.best_foreign is not None
    assert found.reference is not None
    assert str(found.reference.peer) == "PyTorch FP32"
    int8 = {str(row.peer): row.f1 for row in found.rows if row.peer.precision == "INT8"}
    assert {"Optimum Intel INT8", "ONNX Runtime INT8"} <= set(int8)
