"""A version's files: both formats, written, compared with the model, and scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import IR_FILE, ONNX_FILE, ModelInfo, Pruning, cpu_title
from bertqa.evaluation import SquadDataset
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.embeddings import with_stored_embeddings
from bertqa_build.errors import BuildError
from bertqa_build.export import to_onnx, to_openvino, write_onnx, write_openvino
from bertqa_build.fingerprint import toolchain
from bertqa_build.model import SpanModel
from bertqa_build.pruning.measured import milliseconds_of
from bertqa_build.pruning.sizes import sizes_of, to_config
from bertqa_build.pruning.tables import TableSource
from bertqa_build.publish import Artefacts
from bertqa_build.recipe import Recipe
from bertqa_build.result import BuildResult, BuiltVersion, Scored
from bertqa_build.sanity import require_same_logits
from bertqa_build.scoring import score_onnx, score_openvino
from bertqa_build.work_files import version_folder

EXPORTED = "exported"

_TOLERATED = 0.05
"""How far the speed-up that is measured may be from the one asked for without a remark."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a version was pruned from.

    Attributes:
        speedup: How many times as fast it should be.
        whole: The unpruned versions.
        source: Where the latency table comes from.
    """

    speedup: float
    whole: BuildResult
    source: TableSource


@dataclass(frozen=True, slots=True)
class Version:
    """A version that is to be published.

    Attributes:
        precision: `FP32` or `INT8`.
        fingerprint: The digest of all that decides what it is.
        module: The model.
        quantized: Whether it has quantisers.
        origin: What it was pruned from, None where it was not.
    """

    precision: str
    fingerprint: str
    module: SpanModel
    quantized: bool
    origin: Origin | None = None

    @property
    def name(self) -> str:
        """What to call the version."""
        at = f" at {self.origin.speedup:g}x" if self.origin else ""
        return f"{self.precision} version{at}"


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of a version, and what each of them scored."""

    version: Version
    artefacts: Artefacts
    scored: Scored
    onnx: Scored


def export_version(
    version: Version,
    recipe: Recipe,
    checkpoint: Checkpoint,
    dataset: SquadDataset,
    work_dir: Path,
    on_progress: OnProgress,
) -> Exported:
    """Write both formats, and score each file as it is then published.

    Args:
        version: The version.
        recipe: The recipe that makes it.
        checkpoint: Where its model comes from.
        dataset: The questions that it is scored on.
        work_dir: Gets the files, in a directory of the version's own.
        on_progress: Called with each stage, and how far it is.

    Returns:
        The files and their scores.

    Raises:
        BuildError: A file is not the model that was exported.
    """
    on_progress(Progress(f"Exporting {version.precision} to OpenVINO IR and ONNX"))
    info = ModelInfo(
        tokenizer_json=checkpoint.tokenizer_json,
        max_seq_len=recipe.model.max_seq_len,
        doc_stride=recipe.model.doc_stride,
        precision=version.precision,
        source=checkpoint.description,
        dataset=dataset.name,
        toolchain=", ".join(f"{name} {number}" for name, number in toolchain().items()),
        family=version.module.model.config.model_type,
    )
    folder = version_folder(work_dir, version.precision, version.fingerprint) / EXPORTED
    folder.mkdir(parents=True, exist_ok=True)
    ir, onnx = folder / IR_FILE, folder / ONNX_FILE
    module = version.module
    if not version.quantized:
        module = with_stored_embeddings(module, recipe.embeddings)
    write_openvino(to_openvino(module, quantized=version.quantized), info, ir)
    write_onnx(to_onnx(module, quantized=version.quantized), info, onnx)
    if not version.quantized:
        for engine in (OpenVINOEngine(ir), OnnxRuntimeEngine(onnx)):
            require_same_logits(engine, module, checkpoint.tokenizer_json, dataset, recipe.model)
    return Exported(
        version,
        Artefacts(ir, onnx),
        score_openvino(ir, dataset, on_progress),
        score_onnx(onnx, dataset, on_progress),
    )


def pruning_of(exported: Exported, on_progress: OnProgress) -> Pruning | None:
    """Return how a version was pruned, and how fast its IR is, measured in turns.

    Args:
        exported: The version.
        on_progress: Called with the stage, and where the speed is not what was asked for.

    Returns:
        What its manifest says, None where it was not pruned.
    """
    version, origin = exported.version, exported.version.origin
    if origin is None:
        return None
    on_progress(Progress(f"Timing the {version.name} in turns with the unpruned ones"))
    place = origin.source.place
    pruned = exported.artefacts.ir
    whole = origin.whole.of(version.precision).directory / IR_FILE
    fp32 = origin.whole.fp32.directory / IR_FILE
    times = milliseconds_of({ir: ir for ir in (pruned, whole, fp32)}, place)
    sizes = sizes_of(version.module.model)
    found = Pruning(
        speedup=origin.speedup,
        precision=place.precision,
        measured=times[whole] / times[pruned],
        over_fp32=times[fp32] / times[pruned],
        heads=tuple(size.heads for size in sizes),
        neurons=tuple(size.neurons for size in sizes),
        batch=place.batch,
        tokens=place.tokens,
        threads=place.threads,
        cpu=cpu_title(),
    )
    is_asked = version.precision == place.precision and origin.source.is_of_this_machine
    if is_asked and abs(found.measured / found.speedup - 1) > _TOLERATED:
        on_progress(
            Progress(f"The {version.name} is {found.measured:.2f} times as fast as the unpruned")
        )
    return found


def require_same_sizes(model: PreTrainedModel, version: BuiltVersion | None) -> None:
    """Refuse to publish a pruned model beside a version that has layers of other sizes.

    Speeds that are measured differ from run to run, so that a build in another work directory may
    prune to other sizes.

    Args:
        model: The pruned model.
        version: The version of the same speed-up in the other precision, None where there is none.

    Raises:
        BuildError: Its layers have other sizes.
    """
    if version is None or version.pruning is None:
        return
    here = to_config(sizes_of(model))
    there = {"heads": [*version.pruning.heads], "neurons": [*version.pruning.neurons]}
    if here != there:
        raise BuildError(
            f"Version {version.version}, {version.precision} at {version.pruning.speedup:g}x, was "
            f"pruned in another work directory, to heads {there['heads']} and neurons "
            f"{there['neurons']} of the layers; in this one that speed-up took heads "
            f"{here['heads']} and neurons {here['neurons']}. Both precisions have to be one model: "
            f"name that directory with --work-dir, or delete version {version.version} and run the "
            "same command again."
        )
