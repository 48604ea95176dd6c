"""Which layers cost most when they are quantised: each is left in floating point in turn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import IR_FILE, MODEL_NAME, OUTPUTS, ModelInfo, Repository, VersionManifest
from bertqa.client import QAClient
from bertqa.errors import DataError
from bertqa.evaluation import Interval, QuestionScores, SquadDataset, evaluate_each
from bertqa.qa import QATokenizer, collate
from bertqa.runtime.openvino import OpenVINOEngine, core, read_ir_info
from bertqa_build.errors import BuildError
from bertqa_build.graph import is_quantizer, labels, operands, origin, products, short, way_back
from bertqa_build.kept import read_kept, write_kept
from bertqa_build.machine import machine
from bertqa_build.work_files import INT8_PYTORCH, WEIGHTS_FILE, version_folder

_COMPARED_QUESTIONS = 32
"""How many questions the logits are compared on; F1 is measured on all."""
_SAME_WEIGHTS = 0.02
"""How far stored weights may be from those they were rounded from, as a share of the largest."""

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What quantising one layer costs.

    Attributes:
        name: The layer.
        f1: How much F1 rises when the layer stays in floating point, in points; the interval has
            the true value with 95 % confidence.
        error: The share of the quantised model's error of logits that goes then; below zero where
            the error grows.
        with_weights: Whether its weights were put back too, and not its activations alone; None
            where it multiplies activations, and has no weights.
    """

    name: str
    f1: Interval
    error: float
    with_weights: bool | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What each quantised layer of a version costs.

    Attributes:
        dataset: The questions that it was measured on.
        questions: How many they are.
        f1: F1 of the version on them, in percent.
        floating_f1: F1 with all layers left in floating point.
        layers: The layers, the dearest first: those without which F1 rises beyond chance by F1, the
            others by the error.
    """

    dataset: str
    questions: int
    f1: float
    floating_f1: float
    layers: tuple[LayerCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON output."""
        layers = [asdict(each) for each in self.layers]
        for each in layers:
            each["f1_difference"] = each.pop("f1")
        return {**asdict(self), "layers": layers}


def _dearest_first(cost: LayerCost) -> tuple[bool, float, float]:
    """Return what layers are sorted by: F1 where it rises beyond chance, and else the error."""
    is_sure = cost.f1.low > 0
    return not is_sure, -cost.f1.estimate if is_sure else 0.0, -cost.error


def measure_sensitivity(
    repository: Repository,
    version: int,
    dataset: SquadDataset,
    *,
    model: str = MODEL_NAME,
    work_dir: Path | None = None,
    on_progress: OnProgress = ignore,
    again: bool = False,
) -> Sensitivity:
    """Leave one layer of a quantised version after the other in floating point.

    Args:
        repository: The repository that has the version.
        version: Its number.
        dataset: Questions with answers, such as those that the recipe calibrates on.
        model: The name of the model.
        work_dir: The work directory of the build. Where it still has the version's weights as they
            were before they were rounded, these are put back; otherwise they stay in INT8, and only
            the layer's activations are left in floating point. What was measured of a layer is kept
            in its folder `sensitivity`, and not measured again: an interrupted run resumes there.
        on_progress: Called with each layer.
        again: Whether to measure again what was measured before.

    Returns:
        What each layer costs.

    Raises:
        BuildError: The version is not quantised.
        RepositoryError: There is no such version.
        ModelLoadError: It cannot be loaded.
        DataError: There are no questions.
    """
    path = repository.require_version(version, model) / IR_FILE
    manifest = repository.manifest(version, model)
    graph = core().read_model(path)
    info = read_ir_info(graph)
    weights = {} if work_dir is None else kept_weights(work_dir, manifest)
    label_of = labels(graph)
    layers = [
        (label_of[node.get_friendly_name()], node.get_friendly_name())
        for node in products(graph)
        if any(is_quantizer(origin(port)) for port in operands(node))
    ]
    if not layers:
        raise BuildError(f"Version {version} is not quantised: no layer costs anything.")
    if not len(dataset):
        raise DataError(f"{dataset.name} has no questions to ask.")
    key = {
        "files": manifest.files,
        "dataset_sha256": dataset.sha256,
        "weights": len(weights),
        "machine": machine(),
        "openvino": ov.get_version(),
    }
    record = None if work_dir is None else _record(work_dir, model, version, key)
    kept = {} if record is None or again else read_kept(record, key)
    by_layer: dict[str, Any] = kept.setdefault("layers", {})
    measure = _Measure(info, dataset)
    stage, total = "Leaving one layer after the other in floating point", len(layers)
    on_progress(Progress(stage, len(by_layer), total, "layers"))
    missing = [each for each in layers if each[1] not in by_layer]
    if missing:
        quantised, floating = graph.clone(), graph.clone()
        for _, friendly in layers:
            leave_out(floating, friendly, weights)
        base, target = measure(quantised), measure(floating)
        kept |= {"f1": base.percent, "floating_f1": target.percent}
    for name, friendly in missing:
        one = graph.clone()
        with_weights = leave_out(one, friendly, weights)
        found = measure(one)
        error = 1 - found.distance(target) / max(base.distance(target), np.finfo(np.float64).eps)
        cost = LayerCost(name, base.scores.change_to(found.scores), error, with_weights)
        by_layer[friendly] = asdict(cost)
        if record is not None:
            write_kept(record, key, kept)
        on_progress(Progress(stage, len(by_layer), total, "layers", note=name))
    costs = [
        LayerCost(**{**by_layer[friendly], "f1": Interval(**by_layer[friendly]["f1"])})
        for _, friendly in layers
    ]
    return Sensitivity(
        dataset.name,
        len(dataset),
        kept["f1"],
        kept["floating_f1"],
        tuple(sorted(costs, key=_dearest_first)),
    )


def _record(work_dir: Path, model: str, version: int, key: dict[str, Any]) -> Path:
    """Return the file that keeps what is measured under a key; another key has another file."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return work_dir / "sensitivity" / f"{model}-{version}-{digest[:12]}.json"


def kept_weights(work_dir: Path, manifest: VersionManifest) -> Weights:
    """Return the weights of a version before they were rounded, where the build still has them.

    Args:
        work_dir: The work directory of the build.
        manifest: The version's manifest.

    Returns:
        The tensors by name; none where they are not there any more.
    """
    recipe = work_dir / str(manifest.recipe.get("name", ""))
    folder = version_folder(recipe, manifest.precision, manifest.inputs_sha256)
    try:
        return load_file(folder / INT8_PYTORCH / WEIGHTS_FILE)
    except (OSError, SafetensorError):
        return {}


def leave_out(graph: ov.Model, friendly: str, weights: Weights) -> bool | None:
    """Leave one product of a graph in floating point.

    Args:
        graph: The IR, which is changed.
        friendly: The friendly name of the product.
        weights: Weights before they were rounded, by name.

    Returns:
        Whether the weights of the product were put back; None where it has none.
    """
    (node,) = [each for each in products(graph) if each.get_friendly_name() == friendly]
    with_weights = None
    for port in operands(node):
        source = origin(port)
        if is_quantizer(source):
            *_, last = way_back(port)
            last.replace_source_output(source.input_value(0))
        elif source.get_type_name() == "Constant":
            with_weights = _put_back(port, short(friendly), weights)
    return with_weights


def _put_back(port: ov.Input, name: str, weights: Weights) -> bool:
    """Feed a product with the weights before they were rounded, if they are surely its own."""
    found = next((each for key, each in weights.items() if key.endswith(f"{name}.weight")), None)
    if found is None or list(found.shape) != list(port.get_partial_shape().to_shape()):
        return False
    stored = _value_of(port)
    if np.abs(stored - found).max() > _SAME_WEIGHTS * np.abs(found).max():
        return False
    port.replace_source_output(ops.constant(found).output(0))
    return True


def _value_of(port: ov.Input) -> NDArray[np.float32]:
    """Return the constant that a port is fed with."""
    result = ops.result(port.get_source_output())
    compiled = core().compile_model(ov.Model([result], []), "CPU")
    value: NDArray[np.float32] = compiled({})[0]
    return value


@dataclass(frozen=True, slots=True)
class _Found:
    scores: QuestionScores
    logits: Sequence[NDArray[np.float32]]

    @property
    def percent(self) -> float:
        """F1 in percent."""
        return 100 * float(self.scores.f1.mean())

    def distance(self, other: _Found) -> float:
        """Return the root mean square of the differences of logits."""
        squares = [
            (ours - theirs) ** 2 for ours, theirs in zip(self.logits, other.logits, strict=True)
        ]
        return float(np.sqrt(np.mean(np.concatenate([each.ravel() for each in squares]))))


class _Measure:
    """Asks a graph all questions, and runs it on the windows of the first ones."""

    def __init__(self, info: ModelInfo, dataset: SquadDataset) -> None:
        self._info = info
        self._dataset = dataset
        tokenizer = QATokenizer.from_json(info.tokenizer_json)
        self._windows = [
            tokenizer.windows(
                each.question,
                each.context,
                max_seq_len=info.max_seq_len,
                doc_stride=info.doc_stride,
            )[0]
            for each in dataset.questions[:_COMPARED_QUESTIONS]
        ]

    def __call__(self, graph: ov.Model) -> _Found:
        engine = OpenVINOEngine(graph, self._info)
        logits: list[NDArray[np.float32]] = []
        for window in self._windows:
            inputs = collate([window])
            outputs = engine.run({name: inputs[name] for name in engine.inputs})
            logits += [outputs[name][:, : len(window)] for name in OUTPUTS]
        with QAClient(transport=engine, timeout=None) as qa:
            _, scores = evaluate_each(qa, self._dataset)
        return _Found(scores, logits)
