"""From a recipe to two published versions, FP32 and INT8."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel, TrainerCallback

from bertqa._progress import OnProgress, Progress, ignore
from bertqa._reason import reason_of
from bertqa.artifact import (
    IR_FILE,
    MODEL_NAME,
    GateResult,
    Repository,
    VersionManifest,
    onnx_model_name,
    require_sound,
)
from bertqa.errors import QualityGateError
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.data import RecipeData
from bertqa_build.errors import BuildError
from bertqa_build.families import family_of
from bertqa_build.fingerprint import (
    fp32_fingerprint,
    int8_fingerprint,
    published_fingerprint,
    read_data,
    toolchain,
)
from bertqa_build.gate import (
    Loss,
    judge,
    judge_again,
    require_judging,
    require_passed,
    require_possible,
)
from bertqa_build.making import Exported, Origin, Version, export_version, pruning_of
from bertqa_build.model import SpanModel
from bertqa_build.processes import from_first, is_first, refusal
from bertqa_build.progress import ProgressCallback
from bertqa_build.pruning.gradual import Gradual
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.plan import Plan, plan_of
from bertqa_build.publish import publish
from bertqa_build.recipe import Recipe
from bertqa_build.result import BuildResult, BuiltVersion, Scored
from bertqa_build.sanity import require_known, unknown_share
from bertqa_build.speed import latency_ratio
from bertqa_build.stages import finetune, quantize_and_train
from bertqa_build.workplace import alone, require_room

FP32 = "FP32"
INT8 = "INT8"

_MENTIONED_SHARE = 0.1
"""Percent of unknown tokens from which on a build mentions them."""

logger = logging.getLogger(__name__)


def build(
    recipe: Recipe,
    repository: Repository,
    work_dir: Path,
    *,
    force: bool = False,
    strict: bool = False,
    on_progress: OnProgress = ignore,
) -> BuildResult:
    """Make and publish the versions of a recipe; what is published already is not made again.

    Trainings, and versions that the gate refused, are kept in `work_dir/<recipe's name>/`. A build
    that was interrupted resumes from there. Whatever happens, the repository is whole.

    Args:
        recipe: What to build.
        repository: Where the versions are published.
        work_dir: Where unfinished work is kept.
        force: Whether a version is published that the gate refuses.
        strict: Whether a latency table of another machine is refused.
        on_progress: Called with each stage, and how far it is.

    Returns:
        The versions, and what the gate found of each.

    Raises:
        BuildError: The build stopped; its kinds say at what.
        DataError: The recipe's data cannot be read.
        RepositoryError: The repository cannot be written.
        QualityGateError: The gate refuses a version; the other ones that were pruned are published.
    """
    try:
        return _Build(recipe, repository, work_dir, force, strict, on_progress).run()
    except (OSError, SafetensorError) as error:
        filename = getattr(error, "filename", None)
        where = f"{filename}: " if filename else ""
        raise BuildError(
            f"The build stopped: {where}{reason_of(error)}. What was "
            f"published is whole. Run the same command again to resume from {work_dir}."
        ) from error


class _Build:
    def __init__(
        self,
        recipe: Recipe,
        repository: Repository,
        work_dir: Path,
        force: bool,
        strict: bool,
        on_progress: OnProgress,
    ) -> None:
        self.recipe = recipe
        self.repository = repository
        self.work_dir = work_dir
        self.strict = strict
        self.folder = work_dir / recipe.name
        self.force = force
        self.on_progress = on_progress if is_first() else ignore

    def run(self) -> BuildResult:
        from_first(self._read)
        if not is_first():
            self._read()
        fp32_print = fp32_fingerprint(self.recipe, self.checkpoint, self.digests)
        int8_print = int8_fingerprint(self.recipe, fp32_print, self.digests)
        plan = self._plan(fp32_print)
        fp32_files = published_fingerprint(fp32_print, self.recipe)
        with alone(self.folder, self.recipe.name, self.on_progress):
            fp32, int8 = from_first(lambda: (self._find(fp32_files), self._find(int8_print)))
            pruned = from_first(lambda: self._find_pruned(plan))
            if fp32 is not None:
                require_possible(self.recipe.gate, fp32.scores)
            if fp32 is None or int8 is None or None in pruned:
                from_first(lambda: require_room(self.checkpoint.model, *self._folders))
                table = from_first(lambda: plan and plan.table(self.data, self.on_progress))
                model = self._fp32_model(self.folder / f"fp32-{fp32_print[:12]}")
                fp32 = fp32 or from_first(lambda: self._make_fp32(model, fp32_files))
                require_possible(self.recipe.gate, fp32.scores)
                int8 = int8 or self._make_int8(model, fp32, int8_print)
                if plan and table:
                    whole = BuildResult(fp32, int8)
                    pruned = self._make_pruned(plan, table, model, whole, pruned)
        return BuildResult(fp32, int8, tuple(filter(None, pruned)))

    @property
    def _folders(self) -> tuple[Path, Path]:
        return self.folder, self.repository.root

    def _plan(self, fp32_print: str) -> Plan | None:
        if self.recipe.pruning is None:
            return None
        return plan_of(
            self.recipe,
            self.checkpoint,
            fp32_print,
            self.digests,
            self.work_dir,
            strict=self.strict,
        )

    def _find_pruned(self, plan: Plan | None) -> list[BuiltVersion | None]:
        """Return the versions of a plan that are published, FP32 and INT8 in turns."""
        members = plan.members if plan else ()
        return [self._find(digest) for each in members for digest in (each.fp32, each.int8)]

    def _make_pruned(
        self,
        plan: Plan,
        table: LatencyTable,
        model: PreTrainedModel,
        whole: BuildResult,
        found: list[BuiltVersion | None],
    ) -> list[BuiltVersion | None]:
        """Make the versions of a plan; one that the gate refuses does not stop the others."""
        gradual = Gradual(
            self.recipe,
            self.data,
            self.checkpoint,
            model,
            table,
            plan.source.is_of_this_machine,
            self.folder,
            self._callbacks,
            self.on_progress,
        )
        made: list[BuiltVersion | None] = []
        refused: list[str] = []
        for member, fp32, int8 in zip(plan.members, found[::2], found[1::2], strict=True):
            origin = Origin(member.step.speedup, whole, plan.source)
            try:
                if fp32 is None or int8 is None:
                    pruned = gradual.model(member.step)
                    fp32 = fp32 or self._decided(
                        functools.partial(self._make_fp32, pruned, member.fp32, origin)
                    )
                    int8 = int8 or self._make_int8(pruned, fp32, member.int8, origin, model)
            except QualityGateError as error:
                refused.append(str(error))
            made += [fp32, int8]
        if refused:
            raise refusal(" ".join(refused))
        return made

    def _read(self) -> None:
        """Read all that the recipe names, and refuse what cannot be built of it."""
        recipe = self.recipe
        require_sound(self.repository, MODEL_NAME, onnx_model_name(MODEL_NAME))
        self._report("Reading the recipe's data and checkpoint")
        self.data = RecipeData(recipe)
        self.digests = read_data(self.data)
        self.dataset = self.data.dataset(recipe.data.evaluation)
        require_judging(recipe.gate, self.dataset)
        self.checkpoint = load_checkpoint(
            recipe.source,
            adapter=recipe.adapter_path,
            directory=recipe.directory,
            needs_head=recipe.finetune is None,
            max_seq_len=recipe.model.max_seq_len,
            seed=recipe.seed,
        )
        self._require_sane()

    def _require_sane(self) -> None:
        """Report what was left out of the checkpoint, and refuse a tokenizer that lacks words."""
        for note in self.checkpoint.notes:
            self._report(f"Of {self.checkpoint.description}, {note}")
        share = unknown_share(self.checkpoint.tokenizer_json, self.dataset)
        require_known(share, self.recipe.gate.max_unknown, self.checkpoint, self.dataset)
        if share >= _MENTIONED_SHARE:
            self._report(
                f"The tokenizer does not know {share:.1f} % of the tokens of {self.dataset.name}"
            )

    def _fp32_model(self, folder: Path) -> PreTrainedModel:
        if self.recipe.finetune is None:
            return self.checkpoint.model
        return finetune(
            self.recipe, self.data, self.checkpoint, folder, self._callbacks("Fine-tuning")
        )

    def _make_fp32(
        self, model: PreTrainedModel, fingerprint: str, origin: Origin | None = None
    ) -> BuiltVersion:
        exported = self._export(
            Version(FP32, fingerprint, SpanModel(model), quantized=False, origin=origin)
        )
        if origin is None:
            return self._publish(exported, gate=self._judge(exported))
        parent = origin.whole.fp32.version
        loss = Loss.between(
            exported.scored, Scored.published(self.repository.manifest(parent)), is_pruned=True
        )
        return self._publish(exported, parent=parent, gate=self._judge(exported, loss))

    def _make_int8(
        self,
        model: PreTrainedModel,
        parent: BuiltVersion,
        fingerprint: str,
        origin: Origin | None = None,
        teacher: PreTrainedModel | None = None,
    ) -> BuiltVersion:
        family = family_of(model.config.model_type)
        note = f"without SmoothQuant: {family.no_smooth_quant}" if family.no_smooth_quant else ""
        self.on_progress(Progress("Quantising, calibrated on the recipe's data", note=note))
        module = quantize_and_train(
            self.recipe,
            self.data,
            self.checkpoint,
            model,
            self.folder / f"int8-{fingerprint[:12]}",
            self._callbacks("Quantisation-aware training"),
            teacher=teacher,
        )
        version = Version(INT8, fingerprint, module, quantized=True, origin=origin)
        return self._decided(lambda: self._judge_int8(version, parent))

    def _judge_int8(self, version: Version, parent: BuiltVersion) -> BuiltVersion:
        exported = self._export(version)
        loss = Loss.between(
            exported.scored,
            Scored.published(self.repository.manifest(parent.version)),
            self._latency_ratio(exported.artefacts.ir, parent.directory),
        )
        return self._publish(exported, parent=parent.version, gate=self._judge(exported, loss))

    def _decided(self, make: Callable[[], BuiltVersion]) -> BuiltVersion:
        """Make a version in the first process; what its gate refuses is refused in all."""

        def attempt() -> BuiltVersion | str:
            try:
                return make()
            except QualityGateError as error:
                return str(error)

        made = from_first(attempt)
        if isinstance(made, str):
            raise refusal(made)
        return made

    def _judge(self, exported: Exported, loss: Loss | None = None) -> GateResult:
        """Return what the gate finds, unless it refuses the version."""
        scores, folder = exported.scored.scores, exported.artefacts.ir.parent
        gate = judge(scores, self.recipe.gate, loss=loss, force=self.force)
        require_passed(
            gate,
            scores,
            f"The {exported.version.name} is not published",
            f"It is kept in {folder}. --force publishes it all the same.",
        )
        return gate

    def _latency_ratio(self, ir: Path, parent: Path) -> float | None:
        """Return an IR's time for a window over its parent's, where the gate asks for it."""
        if self.recipe.gate.max_latency_ratio is None or not (parent / IR_FILE).exists():
            return None
        self._report("Timing both versions in turns")
        return latency_ratio(ir, parent / IR_FILE, self.recipe.model.max_seq_len)

    def _export(self, version: Version) -> Exported:
        return export_version(
            version, self.recipe, self.checkpoint, self.dataset, self.folder, self.on_progress
        )

    def _publish(
        self, exported: Exported, *, parent: int | None = None, gate: GateResult
    ) -> BuiltVersion:
        version = exported.version
        pruning = pruning_of(exported, self.on_progress)
        self._report(f"Publishing the {version.name}")
        manifest = VersionManifest(
            model=MODEL_NAME,
            version=0,
            precision=version.precision,
            format="",
            source=self.checkpoint.description,
            published="",
            files={},
            scores=exported.scored.scores,
            evidence=exported.scored.evidence,
            parent=parent,
            gate=gate,
            recipe=self.recipe.model_dump(mode="json"),
            toolchain=toolchain(),
            inputs_sha256=version.fingerprint,
            family=version.module.model.config.model_type,
            inputs=version.module.inputs,
            pruning=pruning,
        )
        number = publish(
            self.repository,
            exported.artefacts,
            manifest,
            onnx=exported.onnx,
            on_progress=self.on_progress,
        )
        shutil.rmtree(exported.artefacts.ir.parent)
        return BuiltVersion.of(self.repository, number, present=False)

    def _find(self, fingerprint: str) -> BuiltVersion | None:
        """Return the newest version that was made of the same inputs."""
        for entry in reversed(self.repository.entries()):
            if entry.manifest is None:
                logger.warning("Version %d is passed over: %s", entry.number, entry.remarks[0])
            elif entry.manifest.inputs_sha256 == fingerprint:
                self._judge_again(entry.number, entry.manifest)
                return BuiltVersion.of(self.repository, entry.number, present=True)
        return None

    def _judge_again(self, number: int, manifest: VersionManifest) -> None:
        """Refuse a published version that the recipe's gate of now refuses, but one by force."""
        before = manifest.gate
        if manifest.scores is None or self.force or (before and before.forced):
            return
        ratio = before.latency_ratio if before else None
        if ratio is None and manifest.parent is not None:
            ir = self.repository.version_dir(number) / IR_FILE
            ratio = self._latency_ratio(ir, self.repository.version_dir(manifest.parent))
        require_passed(
            judge_again(manifest, self.recipe.gate, ratio),
            manifest.scores,
            f"The recipe makes version {number}, which is published, but its gate refuses that",
            "Nothing was changed. --force takes the version all the same.",
        )

    def _callbacks(self, stage: str) -> list[TrainerCallback]:
        return [ProgressCallback(stage, self.on_progress)]

    def _report(self, stage: str, done: int = 0, total: int | None = None) -> None:
        self.on_progress(Progress(stage, done, total))
