"""From a recipe to two published versions, FP32 and INT8."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel, TrainerCallback

from bertqa._progress import OnProgress, Progress, ignore
from bertqa._reason import reason_of
from bertqa.artifact import (
    MODEL_NAME,
    Repository,
    SigningKey,
    onnx_model_name,
    require_publishable,
)
from bertqa.errors import QualityGateError
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.data_report import parts_of, sentences_of
from bertqa_build.errors import BuildError
from bertqa_build.families import family_of
from bertqa_build.fingerprint import read_data
from bertqa_build.floating_point import kept_nodes
from bertqa_build.gate import (
    Loss,
    require_judging,
    require_possible,
)
from bertqa_build.making import Exported, Origin, Version, export_version, require_same_sizes
from bertqa_build.model import SpanModel
from bertqa_build.planning import Look, Plan, plan_of
from bertqa_build.processes import (
    from_each,
    from_first,
    is_first,
    refusal,
    require_alike,
    require_shared,
)
from bertqa_build.progress import ProgressCallback
from bertqa_build.provenance import provenance_of
from bertqa_build.pruning.gradual import Gradual
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.plan import Plan as PruningPlan
from bertqa_build.recipe import Recipe
from bertqa_build.recipe_data import RecipeData
from bertqa_build.releases import Releases
from bertqa_build.result import BuildResult, BuiltVersion, partly_refused
from bertqa_build.sanity import require_sane
from bertqa_build.stages import finetune, quantize_and_train
from bertqa_build.wanted import Wanted, wanted_of
from bertqa_build.work_files import version_folder
from bertqa_build.workplace import alone, require_room, room_of

FP32 = "FP32"
INT8 = "INT8"

logger = logging.getLogger(__name__)


def build(
    recipe: Recipe,
    repository: Repository,
    work_dir: Path,
    *,
    model: str = MODEL_NAME,
    force: bool = False,
    allow_leakage: bool = False,
    strict: bool = False,
    sign: SigningKey | None = None,
    on_progress: OnProgress = ignore,
) -> BuildResult:
    """Make and publish the versions of a recipe; what is published already is not made again.

    Trainings, and versions that the gate refused, are kept in `work_dir/<recipe's name>/`. A build
    that was interrupted resumes from there. Whatever happens, the repository is whole.

    Args:
        recipe: What to build.
        repository: Where the versions are published.
        work_dir: Where unfinished work is kept.
        model: The name of the model, under which its versions are served.
        force: Whether a version is published that the gate refuses.
        allow_leakage: Whether questions may be both learnt from and evaluated on; the gate's
            result of each version says that they are.
        strict: Whether a latency table of another machine is refused.
        sign: The key that the versions are signed with, also those that are published already.
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
        build = _Build(
            recipe, repository, work_dir, model, force, allow_leakage, strict, on_progress, sign
        )
        return build.run()
    except (OSError, SafetensorError) as error:
        filename = getattr(error, "filename", None)
        where = f"{filename}: " if filename else ""
        raise BuildError(
            f"The build stopped: {where}{reason_of(error)}. What was "
            f"published is whole. Run the same command again to resume from {work_dir}."
        ) from error


def plan(
    recipe: Recipe,
    repository: Repository,
    work_dir: Path,
    *,
    model: str = MODEL_NAME,
    allow_leakage: bool = False,
    strict: bool = False,
    on_progress: OnProgress = ignore,
) -> Plan:
    """Return what a build would do, and how long it would take; nothing is written.

    Args:
        recipe: What would be built.
        repository: Where the versions would be published.
        work_dir: Where unfinished work would be kept.
        model: The name of the model.
        allow_leakage: Whether questions may be both learnt from and evaluated on.
        strict: Whether a latency table of another machine is refused.
        on_progress: Called with each stage.

    Returns:
        What is read, made and published, and what it takes, by a probe on the real model.

    Raises:
        BuildError: The build could not start; its kinds say why.
        DataError: The recipe's data cannot be read.
        QualityGateError: A version that is published already does not pass the gate.
    """
    build = _Build(recipe, repository, work_dir, model, False, allow_leakage, strict, on_progress)
    return build.plan()


class _Build:
    def __init__(
        self,
        recipe: Recipe,
        repository: Repository,
        work_dir: Path,
        model: str,
        force: bool,
        allow_leakage: bool,
        strict: bool,
        on_progress: OnProgress,
        key: SigningKey | None = None,
    ) -> None:
        self.key = key
        self.recipe = recipe
        self.repository = repository
        self.work_dir = work_dir
        self.strict = strict
        self.folder = work_dir / recipe.name
        self.model = model
        self.allow_leakage = allow_leakage
        self.on_progress = on_progress if is_first() else ignore
        self.force = force

    def run(self) -> BuildResult:
        wanted = from_each(self._look)
        require_alike(wanted.decisive(self.digests))
        with alone(self.folder, self.recipe.name, self.on_progress):
            found = from_first(lambda: self.releases.find(wanted.prints))
            fp32 = found.get(wanted.fp32)
            if fp32 is not None and wanted.int8 is not None:
                require_possible(self.recipe.gate, fp32.scores)
            if wanted.is_missing(found):
                require_shared(self.folder)
                self._make(wanted, found)
            from_first(lambda: self.releases.sign(found.values()))
        return wanted.result(found)

    def plan(self) -> Plan:
        wanted = self._look()
        found = self.releases.find(wanted.prints)
        whole = {FP32: wanted.fp32, INT8: wanted.int8}
        present = {name: found[each].version for name, each in whole.items() if each in found}
        pruned = {
            each.step.speedup: {each.fp32, each.int8} <= found.keys() for each in wanted.members
        }
        parts = parts_of(self.recipe, self.data, self.checkpoint)
        room = room_of(self.recipe, self.checkpoint.model)
        plan = wanted.pruning
        pruning = None if plan is None else plan.description(self.data, self.on_progress)
        if wanted.is_missing(found):
            require_room(room, self.folder, self.repository.root)
        self._report("Timing the model for some seconds")
        known = tuple(parts), present, room, pruning, pruned
        return plan_of(Look(self.recipe, self.data, self.checkpoint, *known))

    def _look(self) -> Wanted:
        self._read()
        return wanted_of(
            self.recipe, self.checkpoint, self.digests, self.work_dir, strict=self.strict
        )

    def _make(self, wanted: Wanted, found: dict[str, BuiltVersion]) -> None:
        """Make the versions that were not found, and put them there."""
        from_first(self._begin)
        plan = wanted.pruning
        table = from_first(lambda: plan and plan.table(self.data, self.on_progress))
        self.provenance = provenance_of(
            self.recipe, wanted.checkpoint, self.checkpoint.revision, self.digests
        )
        model = self._fp32_model(version_folder(self.folder, FP32, wanted.model))
        if wanted.fp32 not in found:
            found[wanted.fp32] = from_first(lambda: self._make_fp32(model, wanted.fp32))
        fp32 = found[wanted.fp32]
        if wanted.int8 is not None:
            require_possible(self.recipe.gate, fp32.scores)
            if wanted.int8 not in found:
                found[wanted.int8] = self._make_int8(model, fp32, wanted.int8)
        if plan and table:
            self._make_pruned(plan, table, model, wanted, found)

    def _make_pruned(
        self,
        plan: PruningPlan,
        table: LatencyTable,
        model: PreTrainedModel,
        wanted: Wanted,
        found: dict[str, BuiltVersion],
    ) -> None:
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
        whole = wanted.whole(found)
        refused: list[str] = []
        for member in plan.members:
            if {member.fp32, member.int8} <= found.keys():
                continue
            origin = Origin(member.step.speedup, whole, plan.source)
            try:
                pruned = gradual.model(member.step)
                for each in (member.fp32, member.int8):
                    require_same_sizes(pruned, found.get(each))
                if member.fp32 not in found:
                    found[member.fp32] = self._decided(
                        functools.partial(self._make_fp32, pruned, member.fp32, origin)
                    )
                if member.int8 not in found:
                    found[member.int8] = self._make_int8(
                        pruned, found[member.fp32], member.int8, origin, model
                    )
            except QualityGateError as error:
                refused.append(str(error))
        if refused:
            raise refusal(partly_refused(refused, found.values()), whole.fp32.version)

    def _read(self) -> None:
        """Read all that the recipe names, and refuse what cannot be built of it."""
        recipe = self.recipe
        require_publishable(self.repository, self.model, onnx_model_name(self.model))
        self._report("Reading the recipe's data and checkpoint")
        self.data = RecipeData(recipe)
        self.digests = read_data(self.data)
        self.dataset = self.data.evaluation
        self.data.overlap.require_none(allowed=self.allow_leakage)
        require_judging(recipe.gate, self.dataset)
        self.checkpoint = load_checkpoint(
            recipe.source,
            adapter=recipe.adapter_path,
            directory=recipe.directory,
            needs_head=recipe.finetune is None,
            max_seq_len=recipe.model.max_seq_len,
            seed=recipe.seed,
        )
        for remark in require_sane(self.checkpoint, self.dataset, recipe.gate.max_unknown):
            self._report(remark)
        if recipe.makes_int8:
            self._name_floating_point()
        self.releases = Releases(
            self.recipe, self.repository, self.model, self.force, self.key, self.on_progress
        )

    def _name_floating_point(self) -> None:
        """Let the recipe name the layers that stay in floating point, and refuse others."""
        family = family_of(self.checkpoint.model.config.model_type)
        if self.recipe.quantization.keep_floating_point is None and family.keeps_floating_point:
            layers = ", ".join(family.keeps_floating_point)
            self._report(
                f"Layers of {family.name} that fit {layers} stay in floating point: "
                f"{family.why_floating_point}. quantization.keep_floating_point: [] quantises them"
            )
        quantization = self.recipe.quantization.of_family(family.keeps_floating_point)
        self.recipe = self.recipe.model_copy(update={"quantization": quantization})
        kept_nodes(SpanModel(self.checkpoint.model), quantization.keep_floating_point or ())

    def _begin(self) -> None:
        """Refuse a small disk, and say what the data are, with all that teaches nothing."""
        require_room(room_of(self.recipe, self.checkpoint.model), self.folder, self.repository.root)
        parts = parts_of(self.recipe, self.data, self.checkpoint)
        for sentence in sentences_of(self.data, parts):
            self._report(sentence)

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
            return self._publish(exported)
        parent = origin.whole.fp32
        loss = Loss.between(exported.scored, self.releases.scored(parent), is_pruned=True)
        return self._publish(exported, parent, loss)

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
            version_folder(self.folder, INT8, fingerprint),
            self._callbacks("Quantisation-aware training"),
            teacher=teacher,
        )
        version = Version(INT8, fingerprint, module, quantized=True, origin=origin)
        return self._decided(lambda: self._judge_int8(version, parent))

    def _judge_int8(self, version: Version, parent: BuiltVersion) -> BuiltVersion:
        exported = self._export(version)
        ratio = self.releases.latency_ratio(exported.artefacts.ir, parent.directory)
        loss = Loss.between(exported.scored, self.releases.scored(parent), ratio)
        return self._publish(exported, parent, loss)

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

    def _export(self, version: Version) -> Exported:
        return export_version(
            version, self.recipe, self.checkpoint, self.dataset, self.folder, self.on_progress
        )

    def _publish(
        self, exported: Exported, parent: BuiltVersion | None = None, loss: Loss | None = None
    ) -> BuiltVersion:
        notes = (self.data.overlap.sentence,) if self.data.overlap.repeated else ()
        gate = self.releases.judged(exported, loss, notes)
        made_of = self.checkpoint.description, self.provenance
        return self.releases.publish(exported, *made_of, parent=parent, gate=gate)

    def _callbacks(self, stage: str) -> list[TrainerCallback]:
        return [ProgressCallback(stage, self.on_progress)]

    def _report(self, stage: str, done: int = 0, total: int | None = None) -> None:
        self.on_progress(Progress(stage, done, total))
