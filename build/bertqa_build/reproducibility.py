"""Building a recipe again, elsewhere, and comparing what each of its stages made."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import MODEL_NAME, Repository, VersionManifest, onnx_model_name, sha256_of
from bertqa_build.errors import BuildError
from bertqa_build.machine import machine
from bertqa_build.recipe import Recipe
from bertqa_build.result import BuildResult
from bertqa_build.work_files import CALIBRATED, FINETUNED, INT8_PYTORCH, version_folder

_REPOSITORY, _WORK = "repository", "work"


@dataclass(frozen=True, slots=True)
class StageResult:
    """What one stage made in each build: the digests, the first of which is the build checked.

    A digest is empty where the work directory does not have the stage's result any more.
    """

    name: str
    digests: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether it made the same bytes each time, as far as they are there."""
        return len({digest for digest in self.digests if digest}) <= 1


@dataclass(frozen=True, slots=True)
class Reproducibility:
    """What building again found: the stages in their order, and what else differs.

    `notes` are sentences on why the builds may differ although no stage is at fault.
    """

    builds: int
    stages: tuple[StageResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def differing(self) -> StageResult | None:
        """The first stage that made other bytes; what follows it differs for that reason."""
        return next((stage for stage in self.stages if not stage.is_same), None)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON output."""
        stages = [{**asdict(stage), "is_same": stage.is_same} for stage in self.stages]
        differing = self.differing and self.differing.name
        return {**asdict(self), "stages": stages, "differing": differing}


def check_reproducible(
    recipe: Recipe,
    repository: Repository,
    work_dir: Path,
    result: BuildResult,
    builds: int,
    *,
    model: str = MODEL_NAME,
    allow_leakage: bool = False,
    on_progress: OnProgress = ignore,
) -> Reproducibility:
    """Build a recipe again, each time in a process and a directory of its own.

    Nothing is published: the directories are in the work directory, and are removed.

    Args:
        recipe: The recipe.
        repository: The repository that has its versions.
        work_dir: The work directory of the build that is checked.
        result: The build that is checked.
        builds: How often to build it again, 1 or more.
        model: The name of the model, as of the build that is checked.
        allow_leakage: Whether questions may be both learnt from and evaluated on.
        on_progress: Called before each build.

    Returns:
        What each stage made.

    Raises:
        BuildError: A build stopped.
    """
    manifests = _manifests(repository, result, model)
    made = [dict(_stages(repository, work_dir / recipe.name, manifests))]
    folder = work_dir / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(builds):
        on_progress(Progress("Building again to compare", number, builds, "builds"))
        with tempfile.TemporaryDirectory(prefix="again-", dir=folder) as place:
            made.append(_in_its_own_process(recipe, Path(place), model, allow_leakage))
    on_progress(Progress("Building again to compare", builds, builds, "builds"))
    stages = [
        StageResult(name, tuple(each.get(name, "") for each in made))
        for name in dict.fromkeys(name for each in made[::-1] for name in each)
    ]
    return Reproducibility(builds, tuple(stages), tuple(_notes(manifests)))


def _in_its_own_process(
    recipe: Recipe, place: Path, model: str, allow_leakage: bool
) -> dict[str, str]:
    # Another process has another order of sets, and other counters in its libraries.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_again, recipe, place, model, allow_leakage).result()
        except BrokenProcessPool as error:
            raise BuildError(
                "The process that built again was ended by the system, as where memory runs out. "
                "What was published stays."
            ) from error


def _again(recipe: Recipe, place: Path, model: str, allow_leakage: bool) -> dict[str, str]:
    from bertqa_build.quiet import quiet

    with quiet():
        from bertqa_build.pipeline import build
    repository, work = Repository(place / _REPOSITORY), place / _WORK
    result = build(recipe, repository, work, model=model, force=True, allow_leakage=allow_leakage)
    manifests = _manifests(repository, result, model)
    return dict(_stages(repository, work / recipe.name, manifests))


def _manifests(repository: Repository, result: BuildResult, model: str) -> list[VersionManifest]:
    return [repository.manifest(built.version, model) for built in result.versions]


def _stages(
    repository: Repository, folder: Path, manifests: Sequence[VersionManifest]
) -> Iterator[tuple[str, str]]:
    """Yield the digest of what each stage made, in the order in which they follow each other."""
    for manifest in manifests:
        pruning = manifest.pruning
        of_version = f" for {pruning.speedup:g}x" if pruning else ""
        for name, digest in _stages_of(repository, folder, manifest):
            yield f"{name}{of_version}", digest


def _stages_of(
    repository: Repository, folder: Path, manifest: VersionManifest
) -> Iterator[tuple[str, str]]:
    work = version_folder(folder, manifest.precision, manifest.inputs_sha256)
    if manifest.precision == "FP32":
        if manifest.pruning is not None:
            yield (
                "choice of what is pruned",
                _digest([manifest.pruning.heads, manifest.pruning.neurons]),
            )
        elif manifest.recipe.get("finetune"):
            yield "fine-tuning", _digest_of(work / FINETUNED)
    else:
        yield "calibration", _digest_of(work / CALIBRATED)
        if manifest.recipe.get("qat"):
            yield "quantisation-aware training", _digest_of(work / INT8_PYTORCH)
    yield from _published(repository, manifest)


def _published(repository: Repository, manifest: VersionManifest) -> Iterator[tuple[str, str]]:
    twin = repository.manifest(manifest.version, onnx_model_name(manifest.model))
    for name, each in (("OpenVINO IR", manifest), ("ONNX", twin)):
        yield f"{manifest.precision} {name}", _digest(dict(each.files))
    evidence = manifest.evidence.questions if manifest.evidence else ""
    scores = manifest.scores.to_dict() if manifest.scores else {}
    yield f"{manifest.precision} scores", _digest([scores, evidence])


def _digest_of(directory: Path) -> str:
    """Return the digest of a directory's files; empty where there is none."""
    if not directory.is_dir():
        return ""
    return _digest({path.name: sha256_of(path) for path in directory.iterdir() if path.is_file()})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _notes(manifests: Sequence[VersionManifest]) -> Iterator[str]:
    for manifest in manifests:
        made = manifest.provenance
        if made is not None and made.machine and made.machine != machine():
            yield (
                f"Version {manifest.version} was built on another machine: {made.machine}. This "
                f"one is {machine()}."
            )
