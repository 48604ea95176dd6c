"""The versions that were pruned from one: what each is worth, and which no other one beats."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bertqa.artifact import MODEL_NAME, Repository, Scores, VersionManifest


@dataclass(frozen=True, slots=True)
class Point:
    """One version of a family.

    Attributes:
        version: Its number.
        precision: `FP32` or `INT8`.
        asked: How many times as fast as the unpruned version of its precision it should be; 1 for
            that one itself.
        measured: How many times it is.
        over_fp32: How many times as fast as the unpruned FP32 version it is.
        scores: What it scored.
        size: The size of its IR, in bytes.
        heads: The heads that are left of each layer; empty where nothing was pruned.
        neurons: The neurons that are left, likewise.
        on_front: Whether no version of the family is both faster and better.
    """

    version: int
    precision: str
    asked: float
    measured: float
    over_fp32: float
    scores: Scores
    size: int
    heads: tuple[int, ...] = ()
    neurons: tuple[int, ...] = ()
    on_front: bool = False

    @property
    def cells(self) -> dict[str, int | str]:
        """What a table shows of the version, by the headings of its columns."""
        return {
            "version": self.version,
            "precision": self.precision,
            "asked": f"{self.asked:g}x",
            "measured": f"{self.measured:.2f}x",
            "against FP32": f"{self.over_fp32:.2f}x",
            "F1": f"{self.scores.f1:.2f}",
            "exact match": f"{self.scores.exact_match:.2f}",
            "size": f"{self.size / 1e6:.1f} MB",
            "best at its speed": "yes" if self.on_front else "",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON output."""
        plain = asdict(self)
        asked = plain.pop("asked")
        return {**plain, "speedup": asked, "scores": self.scores.to_dict()}


def family_of_version(repository: Repository, version: int, model: str = MODEL_NAME) -> list[Point]:
    """Return the versions that were pruned from the same one as a version, and that one.

    Speeds are those of one kind of request on one CPU: versions that were measured otherwise than
    this one are not among them. For one that was not pruned, the newest that was decides.

    Args:
        repository: Where they are published.
        version: The number of any of them.
        model: The name of the model.

    Returns:
        The versions by ascending speed; none where nothing was pruned.
    """
    manifests = {each.number: each.manifest for each in repository.entries(model) if each.manifest}
    root = _root(version, manifests)
    members = [each for each in manifests if _root(each, manifests) == root]
    scored = [manifests[each] for each in members if manifests[each].scores]
    pruned = [each for each in (*scored, manifests.get(version)) if each and each.pruning]
    if not pruned:
        return []
    known = [each for each in scored if not each.pruning or _place(each) == _place(pruned[-1])]
    gains = [
        each.pruning.over_fp32 / each.pruning.measured
        for each in known
        if each.pruning and each.precision != "FP32"
    ]
    points = [
        _point(repository, each, statistics.median(gains) if gains else 1.0)
        for each in known
        if each.pruning or each.precision == "FP32" or gains
    ]
    return [
        replace(each, on_front=_is_on_front(each, points))
        for each in sorted(points, key=lambda point: (point.over_fp32, point.version))
    ]


def _place(manifest: VersionManifest) -> tuple[int, int, int, str]:
    """Return with what request, and where, the speed of a pruned version was measured."""
    assert manifest.pruning is not None
    pruning = manifest.pruning
    return pruning.batch, pruning.tokens, pruning.threads, pruning.cpu


def _root(version: int, manifests: Mapping[int, VersionManifest]) -> int:
    seen = {version}
    while version in manifests:
        parent = manifests[version].parent
        if parent is None or parent in seen:
            break
        seen.add(parent)
        version = parent
    return version


def _point(repository: Repository, manifest: VersionManifest, gain: float) -> Point:
    """Return a version's point; `gain` is the speed-up of the unpruned INT8 version over FP32."""
    assert manifest.scores is not None
    directory = repository.version_dir(manifest.version, manifest.model)
    size = sum((directory / name).stat().st_size for name in manifest.files)
    pruning = manifest.pruning
    if pruning is None:
        over = 1.0 if manifest.precision == "FP32" else gain
        return Point(manifest.version, manifest.precision, 1, 1, over, manifest.scores, size)
    return Point(
        manifest.version,
        manifest.precision,
        pruning.speedup,
        pruning.measured,
        pruning.over_fp32,
        manifest.scores,
        size,
        pruning.heads,
        pruning.neurons,
    )


def _is_on_front(point: Point, points: Sequence[Point]) -> bool:
    return not any(
        other.over_fp32 >= point.over_fp32
        and other.scores.f1 >= point.scores.f1
        and (other.over_fp32, other.scores.f1) != (point.over_fp32, point.scores.f1)
        for other in points
    )
