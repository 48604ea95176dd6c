"""Running a comparison: a process for each peer, and one after the other in every round."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import IR_FILE, cpu_flags
from bertqa.errors import BertQAError
from bertqa.evaluation import score, take_turns
from bertqa.runtime.openvino import PRECISION_HINT, core, native_precision
from bertqa_build.bench.peers.contract import Job
from bertqa_build.bench.peers.files import PeerFiles
from bertqa_build.bench.peers.packages import DEEPSPARSE, TRANSFORMERS, Packages, installed
from bertqa_build.bench.peers.plan import OURS, Kind, Peer, Plan, peers_of
from bertqa_build.bench.peers.result import Kept, PeersComparison, Row
from bertqa_build.bench.peers.versions import Versions, versions_of
from bertqa_build.bench.process import Worker, available_memory, worker
from bertqa_build.fingerprint import toolchain
from bertqa_build.kept import read_kept, write_kept
from bertqa_build.machine import machine
from bertqa_build.recipe_data import key_of
from bertqa_serve.selection import choose_engine

# How many questions, and how often, decide in which way a peer is asked.
_TRIED_QUESTIONS = 48
_TRIES = 2
# What a process takes beside its weights, and how often those.
_PROCESS_BYTES = 1_500_000_000
_OF_WEIGHTS = 6
_COMPILERS = ("c++", "g++", "clang++")

_PACKAGES: dict[Kind, Packages] = {
    Kind.PYTORCH: TRANSFORMERS,
    Kind.TORCH_COMPILE: TRANSFORMERS,
    Kind.OPTIMUM_INTEL: TRANSFORMERS,
    Kind.ONNX_RUNTIME: TRANSFORMERS,
    Kind.DEEPSPARSE: DEEPSPARSE,
}


def compare_peers(
    plan: Plan, work_dir: Path, on_progress: OnProgress = ignore, *, again: bool = False
) -> PeersComparison:
    """Measure every peer of a plan.

    A peer that cannot be run is a row of the result, with the reason. The first pass of a process
    is not timed: its answers are scored.

    Args:
        plan: What is measured.
        work_dir: Packages, models and results are kept in its folder `bench/peers`. What was
            measured of the same plan on the same machine before is not measured again.
        on_progress: Called with each step.
        again: Whether to measure again what was measured before.

    Returns:
        The rows, in the order of the peers' turns.

    Raises:
        RepositoryError: The repository has no version of the recipe.
    """
    versions = versions_of(plan.recipe.name, plan.repository, plan.model)
    has_bf16 = bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    can_compile = any(map(shutil.which, (os.environ.get("CXX") or _COMPILERS[0], *_COMPILERS)))
    default = {
        Kind.OPTIMUM_INTEL: core().get_property("CPU", PRECISION_HINT).get_type_name(),
        **dict.fromkeys(OURS, native_precision()[PRECISION_HINT]),
    }
    peers = peers_of(
        versions,
        plan.kinds,
        has_bf16=has_bf16,
        can_compile=can_compile,
        by_default=default,
    )
    notes = {str(each): each.note for each in peers if each.note}
    key = {**_key(plan, versions), "computes_in": default, "notes": notes}
    record = work_dir / "bench" / "peers" / f"{plan.recipe.name}-{_digest(key)}.json"
    run = _Run(plan, peers, key, record, work_dir, on_progress)
    kept = None
    if not again:
        run.kept = read_kept(record, key)
        if rounds := run.rounds_done():
            written = datetime.fromtimestamp(record.stat().st_mtime, UTC)
            kept = Kept(rounds, written.isoformat(timespec="seconds"))
    return PeersComparison(
        rows=run.rows(),
        model=f"{plan.model}, recipe {plan.recipe.name}: "
        + versions.named({each.version for each in peers}),
        dataset=plan.dataset.name,
        dataset_sha256=plan.dataset.sha256,
        questions=len(plan.dataset),
        rounds=plan.rounds,
        threads=len(plan.cores),
        machine=machine(),
        kept=kept,
    )


def _key(plan: Plan, versions: Versions) -> dict[str, Any]:
    """Return what results depend on."""
    manifests = [plan.repository.manifest(each, plan.model) for each in versions.numbers]
    return {
        "questions": plan.dataset.sha256,
        "machine": machine(),
        "threads": len(plan.cores),
        "model": plan.recipe.model.model_dump(),
        "versions": {str(each.version): dict(each.files) for each in manifests},
        "calibration": {
            "data": [key_of(each) for each in plan.recipe.calibration],
            "windows": plan.recipe.quantization.calibration_windows,
        },
        "toolchain": toolchain() | {"bertqa": version("bertqa")},
        "packages": [each.file.read_text(encoding="utf-8") for each in (TRANSFORMERS, DEEPSPARSE)],
    }


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


@dataclass
class _Run:
    plan: Plan
    peers: tuple[Peer, ...]
    key: dict[str, Any]
    record: Path
    work_dir: Path
    on_progress: OnProgress
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._place = self.record.parent
        decided = {name: self.key[name] for name in ("versions", "calibration")}
        files = self._place / f"{self.plan.recipe.name}-{_digest(decided)}"
        self._files = PeerFiles(self.plan, self.work_dir, files, self.on_progress)
        self._reasons: dict[str, str] = {}
        self._refused: dict[Packages, BertQAError] = {}
        self._ready: dict[str, tuple[Job, dict[str, str]]] = {}
        self._open: dict[str, Worker] = {}
        self._stack = ExitStack()

    def rounds_done(self) -> int:
        return sum(min(len(self._seconds(each)), self.plan.rounds) for each in self.peers)

    def rows(self) -> tuple[Row, ...]:
        missing = [each for each in self.peers if len(self._seconds(each)) < self.plan.rounds]
        for each in missing:
            self._prepare(each)
        try:
            take_turns(
                {str(each): partial(self._turn, each, itertools.count(1)) for each in missing},
                self.plan.rounds,
            )
        finally:
            self._stack.close()
        return tuple(map(self._row, self.peers))

    def _prepare(self, peer: Peer) -> None:
        """Make and install what a peer needs, or remember why that cannot be."""
        if peer.reason:
            self._reasons[str(peer)] = peer.reason
            return
        try:
            environment = {**os.environ, "OMP_NUM_THREADS": str(len(self.plan.cores))}
            environment |= {"HF_HUB_OFFLINE": "1", "NM_DISABLE_ANALYTICS": "1"}
            if peer.kind is Kind.OVMS:
                choose_engine("ovms")
            path = self._files.of(peer)
            if peer.kind in _PACKAGES:
                beside = self._installed(_PACKAGES[peer.kind])
                paths = (str(beside), environment.get("PYTHONPATH"))
                environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        except BertQAError as error:
            self._fail(peer, error)
            return
        lengths = self.plan.recipe.model
        job = Job(
            kind=peer.kind,
            precision=peer.precision,
            path=str(path.absolute()),
            model=self.plan.model,
            version=peer.version,
            cores=self.plan.cores,
            max_seq_len=lengths.max_seq_len,
            doc_stride=lengths.doc_stride,
            max_question_len=lengths.max_question_len,
            may_be_impossible=self.plan.dataset.has_impossible,
        )
        self._ready[str(peer)] = job, environment

    def _installed(self, packages: Packages) -> Path:
        """Return where packages are; what could not be installed is not tried for another peer."""
        if packages in self._refused:
            raise self._refused[packages]
        try:
            return installed(packages, self._place, self.on_progress)
        except BertQAError as error:
            self._refused[packages] = error
            raise

    def _turn(self, peer: Peer, rounds: Iterator[int]) -> None:
        """Measure a peer once, unless it has been in this round."""
        number = next(rounds)
        if str(peer) in self._reasons or len(self._seconds(peer)) >= number:
            return
        total = self.plan.rounds * len(self.peers)
        stage = f"Round {number} of {self.plan.rounds}"
        self.on_progress(Progress(stage, self.rounds_done(), total, "measurements", str(peer)))
        try:
            process = self._open.get(str(peer)) or self._started(peer)
            way = self._found(peer)["way"]
            self._seconds(peer).append(self._asked(process, way)["seconds"])
        except BertQAError as error:
            self._fail(peer, error)
            return
        write_kept(self.record, self.key, self.kept)

    def _started(self, peer: Peer) -> Worker:
        job, environment = self._ready[str(peer)]
        self._make_room(peer)
        module = "bertqa_build.bench.peers.worker"
        process = self._stack.enter_context(worker(module, str(peer), environment))
        self._open[str(peer)] = process
        pairs = [(each.question, each.context) for each in self.plan.dataset]
        facts = process.ask({"job": asdict(job), "pairs": pairs})
        found = self._found(peer)
        way = found.get("way") or self._better(process, facts["ways"])
        texts = self._asked(process, way)["texts"]
        ids = [each.id for each in self.plan.dataset]
        scores = score(dict(zip(ids, texts, strict=True)), self.plan.dataset)
        found |= {
            "way": way,
            "f1": scores.f1,
            "exact_match": scores.exact_match,
            "packages": facts["packages"],
            "note": facts["note"],
        }
        return process

    def _better(self, process: Worker, ways: list[str]) -> str:
        """Return the way of asking that is faster on the first questions, in turns."""
        if len(ways) == 1:
            return ways[0]
        for way in ways:
            self._asked(process, way, _TRIED_QUESTIONS)
        tries = take_turns(
            {way: partial(self._asked, process, way, _TRIED_QUESTIONS) for way in ways}, _TRIES
        )
        return min(ways, key=lambda way: min(each["seconds"] for each in tries[way]))

    def _asked(self, process: Worker, way: str, questions: int | None = None) -> dict[str, Any]:
        count = len(self.plan.dataset)
        return process.ask({"way": way, "questions": min(questions or count, count)})

    def _make_room(self, peer: Peer) -> None:
        """End the processes of the others where the memory does not hold another one."""
        folder = self.plan.repository.version_dir(peer.version, self.plan.model)
        weights = (folder / IR_FILE).with_suffix(".bin").stat().st_size
        if available_memory() < _PROCESS_BYTES + _OF_WEIGHTS * weights:
            self._stack.close()
            self._open.clear()

    def _fail(self, peer: Peer, error: BertQAError) -> None:
        sentence = str(error).rstrip(".")
        self._reasons[str(peer)] = f"{sentence}: {error.detail}" if error.detail else sentence

    def _found(self, peer: Peer) -> dict[str, Any]:
        found: dict[str, Any] = self.kept.setdefault(str(peer), {})
        return found

    def _seconds(self, peer: Peer) -> list[float]:
        seconds: list[float] = self._found(peer).setdefault("seconds", [])
        return seconds

    def _row(self, peer: Peer) -> Row:
        found, questions = self._found(peer), len(self.plan.dataset)
        reason = self._reasons.get(str(peer), "")
        if reason or not found["seconds"]:
            return Row(peer, questions, reason=reason)
        notes = tuple(filter(None, (peer.note, found["note"])))
        return Row(
            peer,
            questions,
            tuple(found["seconds"][: self.plan.rounds]),
            found["f1"],
            found["exact_match"],
            found["way"],
            found["packages"],
            notes,
        )
