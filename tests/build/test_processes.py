from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bertqa.artifact import Repository
from bertqa_build.errors import TrainingError
from bertqa_build.pipeline import build
from bertqa_build.processes import count, from_first, is_first
from bertqa_build.recipe import Training, load_recipe
from bertqa_build.training import training_arguments
from tests.support.checkpoints import write_squad
from tests.support.documents import check_document
from tests.support.families import FAMILIES
from tests.support.ports import free_port
from tests.support.self_taught import write_tiny

RECIPE = """
name: tiny
source: checkpoint
model: {max_seq_len: 96, doc_stride: 16, max_question_len: 32}
data:
  train: [train.json]
  evaluation: train.json
finetune: &training
  learning_rate: 1.0e-3
  batch_size: 4
  max_seq_len: 96
  doc_stride: 16
  checkpoint_steps: 2
quantization: {calibration_windows: 2}
qat:
  learning_rate: 1.0e-3
  batch_size: 4
  max_seq_len: 96
  doc_stride: 16
  checkpoint_steps: 2
gate: {min_f1: 0, min_exact_match: 0, max_f1_drop: 100, max_unknown: 10}
""".replace(" &training", "")


PRUNED = """
name: tiny
source: checkpoint
model: {max_seq_len: 128, doc_stride: 32, max_question_len: 32}
data:
  train: [train.json]
  evaluation: evaluation.json
pruning:
  speedup: [1.4]
  at: {batch: 2, tokens: 64, threads: 1}
  steps: 1
  calibration_windows: 8
  search_trials: 2
  batch_size: 4
  max_seq_len: 128
  doc_stride: 32
quantization: {calibration_windows: 4}
qat: {learning_rate: 1.0e-5, batch_size: 4, max_seq_len: 96, doc_stride: 16, checkpoint_steps: 2}
gate: {min_f1: 0, min_exact_match: 0, max_f1_drop: 100, min_pruned_f1_ratio: 0}
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(folder: Path, *options: str) -> list[str]:
    """The words that have torchrun start `bert-qa build` in two processes."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "bertqa_cli.main", "build", str(folder / "tiny.yaml")),
        *("--repository", str(folder / "repository"), "--work-dir", str(folder / "work")),
        *options,
    ]


def together(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `bert-qa build` in two processes, as torchrun starts them."""
    return subprocess.run(
        command(folder, *options), env=ENVIRONMENT, capture_output=True, text=True
    )


def apart(
    folder: Path, script: str, *arguments: Sequence[str]
) -> list[subprocess.CompletedProcess[str]]:
    """Run a script on several machines, which are folders of this one, as torchrun starts it.

    Args:
        folder: Has the script, and a folder for each machine, where it runs there.
        script: The script.
        arguments: Those of the script on each machine.
    """
    (folder / "script.py").write_text(script, encoding="utf-8")
    port = free_port()

    def run(rank: int) -> subprocess.CompletedProcess[str]:
        machine = folder / f"machine-{rank}"
        machine.mkdir(exist_ok=True)
        launcher = [
            *("-m", "torch.distributed.run", f"--nnodes={len(arguments)}", f"--node-rank={rank}"),
            *("--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"),
        ]
        return subprocess.run(
            [sys.executable, *launcher, str(folder / "script.py"), *arguments[rank]],
            cwd=machine,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )

    with ThreadPoolExecutor() as pool:
        return list(pool.map(run, range(len(arguments))))


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a build itself said: what torchrun logs of it, an E and the date first, is its own."""
    return re.split(r"^E\d{4} ", done.stderr, flags=re.MULTILINE)[0]


MACHINES = """
import os
import sys
from pathlib import Path
from bertqa.errors import BertQAError
from bertqa_build import processes
from bertqa_build.errors import BuildError

processes._SIGHT_SECONDS = 1.0
assert processes.machines() == 2

def tried(step):
    try:
        print(step())
    except BertQAError as error:
        print(type(error).__name__, error)

def fails():
    if not processes.is_first():
        raise BuildError("There is no train.json here.")
    return "read"

folder = Path(sys.argv[1])
processes.from_first(lambda: folder.mkdir(exist_ok=True))
tried(lambda: processes.require_shared(folder))
tried(lambda: processes.require_alike({"data": 1, "checkpoint": sys.argv[2]}))
tried(lambda: processes.from_each(fails))
tried(lambda: processes.from_each(processes.rank))
print(*(each.name for each in folder.glob("*")), flush=True)
os._exit(0)  # As the command does: the interpreter would take the connections apart.
"""


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_machines_that_differ_or_share_no_work_directory_are_refused_in_one_sentence(
    tmp_path: Path,
) -> None:
    first, second = apart(tmp_path, MACHINES, ("work", "one"), ("work", "other"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    unshared, differing, failing, ranked, left = first.stdout.splitlines()
    process = f"BuildError Process 1 of this build, on {socket.gethostname()}, cannot take part"
    assert unshared.startswith(process)
    assert f"It does not see in {tmp_path / 'machine-1' / 'work'} what the first" in unshared
    assert differing.startswith(process)
    assert "Its checkpoint differs from what the first process has." in differing
    assert failing == f"{process} in it. There is no train.json here."
    assert (ranked, left) == ("0", "")
    elsewhere = second.stdout.splitlines()
    assert [each.partition(" ")[0] for each in elsewhere[:3]] == ["StoppedElsewhereError"] * 3
    assert elsewhere[3] == "1"


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_machines_that_are_alike_and_share_a_work_directory_pass(tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    done = apart(tmp_path, MACHINES, (shared, "one"), (shared, "one"))
    for each in done:
        assert each.stdout.splitlines()[:2] == ["None", "None"], each.stderr


KILLED = """
import os, signal
from bertqa.errors import BertQAError
from bertqa_build import processes

processes.from_first(lambda: None)
if not processes.is_first():
    os.kill(os.getpid(), signal.SIGKILL)
try:
    processes.from_each(lambda: None)
except BertQAError as error:
    print(type(error).__name__, error, flush=True)
    os._exit(1)
"""


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_where_a_machine_dies_the_first_one_says_so(tmp_path: Path) -> None:
    first, second = apart(tmp_path, KILLED, (), ())
    assert "StoppedElsewhereError Another process of this build has ended" in first.stdout
    assert second.returncode


def test_one_process_is_the_first_and_the_only_one() -> None:
    assert (count(), is_first(), from_first(lambda: 3)) == (1, True, 3)


def test_a_step_s_windows_are_shared_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa_build.training.count", lambda: 2)
    settings = Training(learning_rate=1e-3, batch_size=6)
    assert training_arguments(settings, tmp_path, seed=0).per_device_train_batch_size == 3
    with pytest.raises(TrainingError, match="batch_size is 5, which 2 processes cannot share"):
        training_arguments(Training(learning_rate=1e-3, batch_size=5), tmp_path, seed=0)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_two_processes_build_what_one_publishes_and_reports(tmp_path: Path) -> None:
    FAMILIES[0].write(tmp_path / "checkpoint")
    write_squad(tmp_path / "train.json", copies=4)
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")

    done = together(tmp_path, "--json", "--allow-leakage")

    assert done.returncode == 0, done.stderr
    document = check_document(["build"], done.stdout)
    assert [each["version"] for each in document["versions"]] == [1, 2]
    assert Repository(tmp_path / "repository").versions() == [1, 2]
    for stage in ("Fine-tuning", "Quantisation-aware training", "Publishing the INT8 version"):
        assert done.stderr.splitlines().count(stage) == 1, stage
    for training in (tmp_path / "work").rglob("checkpoint-4"):
        state = json.loads((training / "trainer_state.json").read_text(encoding="utf-8"))
        assert state["global_step"] == 4
        assert {path.name for path in training.glob("rng_state*")} == {
            "rng_state_0.pth",
            "rng_state_1.pth",
        }

    (tmp_path / "train.json").write_text("{}", encoding="utf-8")
    refused = together(tmp_path)
    assert refused.returncode != 0
    assert refused.stderr.count("is not SQuAD JSON") == 1
    assert "Traceback" not in said(refused)
    planned = together(tmp_path, "--dry-run")
    assert said(planned).count("--dry-run is for one process") == 1


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_pruning_and_training_with_quantisers_resume_after_a_kill(tmp_path: Path) -> None:
    write_tiny(tmp_path, PRUNED)
    with subprocess.Popen(
        command(tmp_path), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stderr is not None
        assert any(line.startswith("Quantisation-aware training") for line in started.stderr)
        children = psutil.Process(started.pid).children()
        (second,) = [each for each in children if each.environ().get("RANK") == "1"]
        second.kill()
        rest = started.stderr.read()
    assert started.returncode
    assert "Traceback" not in re.split(r"^[EW]\d{4} ", rest, flags=re.MULTILINE)[0]
    assert Repository(tmp_path / "repository").versions() == [1]

    resumed = together(tmp_path, "--json")

    assert resumed.returncode == 0, resumed.stderr
    document = check_document(["build"], resumed.stdout)
    assert [each["version"] for each in document["versions"]] == [1, 2, 3, 4]
    stages = said(resumed).splitlines()
    assert "Publishing the FP32 version" not in stages
    assert stages.count("Distilling at 1.4x") == 1
    repository = Repository(tmp_path / "repository")
    alone = build(load_recipe(tmp_path / "tiny.yaml"), repository, tmp_path / "elsewhere")
    assert all(each.present for each in alone.versions)
    assert repository.versions() == [1, 2, 3, 4]
