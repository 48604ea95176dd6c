"""From a recipe to two published versions, FP32 and INT8."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel, TrainerCallback

from bertqa._progress import OnProgress, Progress, ignore
from bertqa._reason import reason_of
from bertqa.artifact import (
    IR_FILE,
    MODEL_NAME,
    ONNX_FILE,
    GateResult,
    ModelInfo,
    Repository,
    VersionManifest,
    onnx_model_name,
    require_sound,
)
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.data_report import parts_of, sentences_of
from bertqa_build.errors import BuildError
from bertqa_build.export import to_onnx, to_openvino, write_onnx, write_openvino
from bertqa_build.families import family_of
from bertqa_build.fingerprint import fp32_fingerprint, int8_fingerprint, read_data, toolchain
from bertqa_build.gate import (
    Loss,
    judge,
    judge_again,
    require_judging,
    require_passed,
    require_possible,
)
from bertqa_build.model import SpanModel
from bertqa_build.planning import Look, Plan, plan_of
from bertqa_build.processes import from_first, is_first
from bertqa_build.progress import ProgressCallback
from bertqa_build.provenance import provenance_of
from bertqa_build.publish import Artefacts, publish
from bertqa_build.recipe import Recipe
from bertqa_build.recipe_data import RecipeData
from bertqa_build.result import BuildResult, BuiltVersion, Scored
from bertqa_build.sanity import require_same_logits, require_sane
from bertqa_build.scoring import score_onnx, score_openvino
from bertqa_build.speed import latency_ratio
from bertqa_build.stages import finetune, quantize_and_train
from bertqa_build.work_files import version_folder
from bertqa_build.workplace import alone, require_room, room_of

FP32 = "FP32"
INT8 = "INT8"
EXPORTED = "exported"

logger = logging.getLogger(__name__)


def build(
    recipe: Recipe,
    repository: Repository,
    work_dir: Path,
    *,
    model: str = MODEL_NAME,
    force: bool = False,
    allow_leakage: bool = False,
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
        on_progress: Called with each stage, and how far it is.

    Returns:
        The versions, and what the gate found of each.

    Raises:
        BuildError: The build stopped; its kinds say at what.
        DataError: The recipe's data cannot be read.
        RepositoryError: The repository cannot be written.
    """
    try:
        return _Build(recipe, repository, work_dir, model, force, allow_leakage, on_progress).run()
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
    on_progress: OnProgress = ignore,
) -> Plan:
    """Say what a build would do, and how long it would take; nothing is written.

    Args:
        recipe: What would be built.
        repository: Where the versions would be published.
        work_dir: Where unfinished work would be kept.
        model: The name of the model.
        allow_leakage: Whether questions may be both learnt from and evaluated on.
        on_progress: Called with each stage.

    Returns:
        What is read, made and published, and what it takes, by a probe on the real model.

    Raises:
        BuildError: The build could not start; its kinds say why.
        DataError: The recipe's data cannot be read.
        QualityGateError: A version that is published already does not pass the gate.
    """
    return _Build(recipe, repository, work_dir, model, False, allow_leakage, on_progress).plan()


class _Build:
    def __init__(
        self,
        recipe: Recipe,
        repository: Repository,
        work_dir: Path,
        model: str,
        force: bool,
        allow_leakage: bool,
        on_progress: OnProgress,
    ) -> None:
        self.recipe = recipe
        self.repository = repository
        self.folder = work_dir / recipe.name
        self.model = model
        self.force = force
        self.allow_leakage = allow_leakage
        self.on_progress = on_progress if is_first() else ignore

    def run(self) -> BuildResult:
        from_first(self._read)
        if not is_first():
            self._read()
        fp32_print = fp32_fingerprint(self.recipe, self.checkpoint, self.digests)
        int8_print = int8_fingerprint(self.recipe, fp32_print, self.digests)
        wanted = self.recipe.makes_int8
        with alone(self.folder, self.recipe.name, self.on_progress):
            fp32, int8 = from_first(
                lambda: (self._find(fp32_print), self._find(int8_print) if wanted else None)
            )
            if fp32 is not None and wanted:
                require_possible(self.recipe.gate, fp32.scores)
            if fp32 is None or (int8 is None and wanted):
                from_first(self._begin)
                self.provenance = provenance_of(self.recipe, self.checkpoint, self.digests)
                model = self._fp32_model(version_folder(self.folder, FP32, fp32_print))
                fp32 = fp32 or from_first(lambda: self._make_fp32(model, fp32_print))
                if wanted:
                    require_possible(self.recipe.gate, fp32.scores)
                    int8 = int8 or self._make_int8(model, fp32, int8_print)
        return BuildResult(fp32, int8)

    def plan(self) -> Plan:
        self._read()
        fp32_print = fp32_fingerprint(self.recipe, self.checkpoint, self.digests)
        int8_print = int8_fingerprint(self.recipe, fp32_print, self.digests)
        prints = {FP32: fp32_print, **({INT8: int8_print} if self.recipe.makes_int8 else {})}
        found = {precision: self._find(each) for precision, each in prints.items()}
        present = {name: built.version for name, built in found.items() if built is not None}
        parts = parts_of(self.recipe, self.data, self.checkpoint.tokenizer_json)
        room = room_of(self.recipe, self.checkpoint.model)
        if len(present) < len(prints):
            require_room(room, self.folder, self.repository.root)
        self._report("Timing the model for some seconds")
        return plan_of(Look(self.recipe, self.data, self.checkpoint, tuple(parts), present, room))

    def _read(self) -> None:
        """Read all that the recipe names, and refuse what cannot be built of it."""
        recipe = self.recipe
        require_sound(self.repository, self.model, onnx_model_name(self.model))
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

    def _begin(self) -> None:
        """Refuse a small disk, and say what the data are, with all that teaches nothing."""
        require_room(room_of(self.recipe, self.checkpoint.model), self.folder, self.repository.root)
        parts = parts_of(self.recipe, self.data, self.checkpoint.tokenizer_json)
        for sentence in sentences_of(self.data, parts):
            self._report(sentence)

    def _fp32_model(self, folder: Path) -> PreTrainedModel:
        if self.recipe.finetune is None:
            return self.checkpoint.model
        return finetune(
            self.recipe, self.data, self.checkpoint, folder, self._callbacks("Fine-tuning")
        )

    def _make_fp32(self, model: PreTrainedModel, fingerprint: str) -> BuiltVersion:
        exported = self._export(_Version(FP32, fingerprint, SpanModel(model), quantized=False))
        return self._publish(exported, gate=self._judge(exported))

    def _make_int8(
        self, model: PreTrainedModel, parent: BuiltVersion, fingerprint: str
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
        )
        return from_first(lambda: self._judge_int8(module, parent, fingerprint))

    def _judge_int8(
        self, module: SpanModel, parent: BuiltVersion, fingerprint: str
    ) -> BuiltVersion:
        exported = self._export(_Version(INT8, fingerprint, module, quantized=True))
        loss = Loss.between(
            exported.scored,
            Scored.published(self.repository.manifest(parent.version, self.model)),
            self._latency_ratio(exported.artefacts.ir, parent.directory),
        )
        return self._publish(exported, parent=parent.version, gate=self._judge(exported, loss))

    def _judge(self, exported: _Exported, loss: Loss | None = None) -> GateResult:
        """Return what the gate finds, unless it refuses the version."""
        scores, folder = exported.scored.scores, exported.artefacts.ir.parent
        gate = judge(scores, self.recipe.gate, loss=loss, force=self.force)
        if self.data.overlap.repeated:
            gate = replace(gate, notes=(*gate.notes, self.data.overlap.sentence))
        require_passed(
            gate,
            scores,
            f"The {exported.version.precision} version is not published",
            f"It is kept in {folder}. --force publishes it all the same.",
        )
        return gate

    def _latency_ratio(self, ir: Path, parent: Path) -> float | None:
        """Return an IR's time for a window over its parent's, where the gate asks for it."""
        if self.recipe.gate.max_latency_ratio is None or not (parent / IR_FILE).exists():
            return None
        self._report("Timing both versions in turns")
        return latency_ratio(ir, parent / IR_FILE, self.recipe.model.max_seq_len)

    def _export(self, version: _Version) -> _Exported:
        """Write both formats, and score each file as it is then published."""
        self._report(f"Exporting {version.precision} to OpenVINO IR and ONNX")
        info = ModelInfo(
            tokenizer_json=self.checkpoint.tokenizer_json,
            max_seq_len=self.recipe.model.max_seq_len,
            doc_stride=self.recipe.model.doc_stride,
            precision=version.precision,
            source=self.checkpoint.description,
            dataset=self.dataset.name,
            toolchain=", ".join(f"{name} {number}" for name, number in toolchain().items()),
            family=version.module.model.config.model_type,
        )
        folder = version_folder(self.folder, version.precision, version.fingerprint) / EXPORTED
        folder.mkdir(parents=True, exist_ok=True)
        ir, onnx = folder / IR_FILE, folder / ONNX_FILE
        write_openvino(to_openvino(version.module, quantized=version.quantized), info, ir)
        write_onnx(to_onnx(version.module, quantized=version.quantized), info, onnx)
        if not version.quantized:
            for engine in (OpenVINOEngine(ir), OnnxRuntimeEngine(onnx)):
                require_same_logits(
                    engine,
                    version.module,
                    self.checkpoint.tokenizer_json,
                    self.dataset,
                    self.recipe.model,
                )
        return _Exported(
            version,
            Artefacts(ir, onnx),
            score_openvino(ir, self.dataset, self.on_progress),
            score_onnx(onnx, self.dataset, self.on_progress),
        )

    def _publish(
        self, exported: _Exported, *, parent: int | None = None, gate: GateResult
    ) -> BuiltVersion:
        version = exported.version
        self._report(f"Publishing {version.precision}")
        manifest = VersionManifest(
            model=self.model,
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
            provenance=self.provenance,
            inputs_sha256=version.fingerprint,
            family=version.module.model.config.model_type,
            inputs=version.module.inputs,
            config=version.module.described,
        )
        number = publish(
            self.repository,
            exported.artefacts,
            manifest,
            onnx=exported.onnx,
            on_progress=self.on_progress,
        )
        shutil.rmtree(exported.artefacts.ir.parent)
        return BuiltVersion.of(self.repository, number, present=False, model=self.model)

    def _find(self, fingerprint: str) -> BuiltVersion | None:
        """Return the newest version that was made of the same inputs."""
        for entry in reversed(self.repository.entries(self.model)):
            if entry.manifest is None:
                logger.warning("Version %d is passed over: %s", entry.number, entry.remarks[0])
            elif entry.manifest.inputs_sha256 == fingerprint:
                self._judge_again(entry.number, entry.manifest)
                return BuiltVersion.of(
                    self.repository, entry.number, present=True, model=self.model
                )
        return None

    def _judge_again(self, number: int, manifest: VersionManifest) -> None:
        """Refuse a published version that the recipe's gate of now refuses, but one by force."""
        before = manifest.gate
        if manifest.scores is None or self.force or (before and before.forced):
            return
        ratio = before.latency_ratio if before else None
        if ratio is None and manifest.parent is not None:
            ir = self.repository.version_dir(number, self.model) / IR_FILE
            parent = self.repository.version_dir(manifest.parent, self.model)
            ratio = self._latency_ratio(ir, parent)
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


@dataclass(frozen=True, slots=True)
class _Version:
    precision: str
    fingerprint: str
    module: SpanModel
    quantized: bool


@dataclass(frozen=True, slots=True)
class _Exported:
    version: _Version
    artefacts: Artefacts
    scored: Scored
    onnx: Scored
