"""What came of a comparison with peers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bertqa.artifact import cpu_features
from bertqa.evaluation import Samples
from bertqa_build.bench.peers.plan import Peer
from bertqa_build.bench.plan import Precision

_SAME_F1 = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of a peer.

    Attributes:
        peer: The peer.
        questions: How many questions were asked in each round.
        seconds: How long they took in each round; empty where the peer was not run.
        f1: F1 in percent.
        exact_match: Exact match in percent.
        way: In which way they were asked.
        packages: The releases of the packages that it runs.
        notes: What else there is to know, in sentences.
        reason: Why it was not run.
    """

    peer: Peer
    questions: int
    seconds: tuple[float, ...] = ()
    f1: float = 0.0
    exact_match: float = 0.0
    way: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def samples(self) -> Samples:
        """The seconds of the rounds, to be summed up."""
        return Samples(self.seconds)

    @property
    def spread(self) -> float | None:
        """The range of the rounds as a share of their median; None where there are not two."""
        return self.samples.spread if len(self.seconds) > 1 else None

    @property
    def questions_per_second(self) -> float:
        """The median of the rounds."""
        return self.questions / self.samples.median


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a comparison was measured by an earlier run.

    Attributes:
        rounds: How many rounds of all peers.
        until: When the last of them was, in UTC.
    """

    rounds: int
    until: str


@dataclass(frozen=True, slots=True)
class PeersComparison:
    """All peers on the same questions and cores.

    Attributes:
        rows: What was measured of each, in the order of their turns.
        model: The model, its recipe, and the versions that are measured.
        dataset: The name of the data set.
        dataset_sha256: The digest of the questions that were asked.
        questions: How many they are.
        rounds: How often each peer was measured.
        threads: How many cores each had.
        machine: The CPU, and its cores.
        kept: What of that an earlier run measured; None where it is all new.
    """

    rows: tuple[Row, ...]
    model: str
    dataset: str
    dataset_sha256: str
    questions: int
    rounds: int
    threads: int
    machine: str
    kept: Kept | None = None

    @property
    def measured(self) -> list[Row]:
        """The rows of the peers that were run."""
        return [row for row in self.rows if row.seconds]

    @property
    def best_foreign(self) -> Row | None:
        """The fastest peer that is not ours; None where none was run."""
        foreign = [row for row in self.measured if not row.peer.kind.is_ours]
        return max(foreign, key=lambda row: row.questions_per_second, default=None)

    @property
    def reference(self) -> Row | None:
        """The first peer that runs the FP32 model as it is: losses are counted from its F1."""
        plain = (
            row
            for row in self.measured
            if row.peer.precision is Precision.FP32 and row.peer.speedup is None
        )
        return next(plain, None)

    def ratio(self, row: Row) -> float | None:
        """Return how many times as fast as the best foreign peer a peer is.

        Args:
            row: What was measured of it.
        """
        best = self.best_foreign
        return None if best is None else row.questions_per_second / best.questions_per_second

    def loss(self, row: Row) -> float | None:
        """Return what share of the reference's F1 a peer lost, in percent.

        Args:
            row: What was measured of it.
        """
        reference = self.reference
        if reference is None or not reference.f1:
            return None
        return 100 * (1 - row.f1 / reference.f1)

    @property
    def differing(self) -> list[tuple[Row, Row]]:
        """Pairs of ours with the same version whose F1 differs by more than a point.

        The first has the highest F1 of the version, the second the lowest.
        """
        by_version: dict[int, list[Row]] = {}
        for row in self.measured:
            if row.peer.kind.is_ours:
                by_version.setdefault(row.peer.version, []).append(row)
        pairs = []
        for rows in by_version.values():
            ordered = sorted(rows, key=lambda row: row.f1)
            if ordered[-1].f1 - ordered[0].f1 > _SAME_F1:
                pairs.append((ordered[-1], ordered[0]))
        return pairs

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return {
            "model": self.model,
            "machine": self.machine,
            "cpu_features": cpu_features(),
            "threads": self.threads,
            "dataset": self.dataset,
            "dataset_sha256": self.dataset_sha256,
            "questions": self.questions,
            "rounds": self.rounds,
            "kept": self.kept and asdict(self.kept),
            "best_foreign": self.best_foreign and str(self.best_foreign.peer),
            "reference": self.reference and str(self.reference.peer),
            "peers": [self._row(row) for row in self.rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        ran = bool(row.seconds)
        return {
            "name": str(row.peer),
            "kind": row.peer.kind,
            "is_ours": row.peer.kind.is_ours,
            "precision": row.peer.precision,
            "computes_in": row.peer.computes_in,
            "version": row.peer.version,
            "speedup": row.peer.speedup,
            "questions_per_second": row.questions_per_second if ran else None,
            "samples_seconds": list(row.seconds),
            "spread": row.spread,
            "ratio_to_best_foreign": self.ratio(row) if ran else None,
            "f1": row.f1 if ran else None,
            "exact_match": row.exact_match if ran else None,
            "f1_loss": self.loss(row) if ran else None,
            "way": row.way or None,
            "packages": dict(row.packages),
            "notes": list(row.notes),
            "reason": row.reason or None,
        }
