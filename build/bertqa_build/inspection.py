"""The contents of a published version's graphs, and what changed between two versions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino as ov
from google.protobuf.message import DecodeError

from bertqa.artifact import (
    IR_FILE,
    MODEL_NAME,
    ONNX_FILE,
    Repository,
    VersionManifest,
    onnx_model_name,
)
from bertqa.errors import ModelLoadError
from bertqa.runtime.openvino import INTEGER, OpenVINOEngine, core, executed_operations
from bertqa_build.graph import (
    ATTENTION,
    FAKE_QUANTIZE,
    MATMUL,
    PASSED_THROUGH,
    PROBABILITIES_VALUES,
    QUERIES_KEYS,
    is_kept,
    is_quantizer,
    labels,
    operands,
    origin,
    short,
)
from bertqa_build.graph import products as products_of
from bertqa_build.speed import time_windows

_ATTENTION_INPUTS = ("queries", "keys", "values")
_DEQUANTIZED = "/DequantizationMultiply"
_NUMBERED = re.compile(r"\b\w+\.\d+\.")

NOT_QUANTISED = "the version is not quantised"
KEPT = "quantization.keep_floating_point keeps it in floating point"
LEFT_BY_OPENVINO = "its inputs are quantised, but OpenVINO chose to run it in floating point"
NO_QUANTISERS = "NNCF put no quantisers on both of its inputs"


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix product.

    Attributes:
        name: Where it is in the model.
        int8: Whether it runs in INT8.
        runs_in: The precision that OpenVINO runs it in, such as `u8` or `f32`.
        reason: Why it does not run in INT8; empty where it does.
        ranges: From where to where the quantisers of its activations reach, `(low, high)` each.
    """

    name: str
    int8: bool
    runs_in: str
    reason: str = ""
    ranges: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """The range of an activation quantiser: values from `low` to `high` in `levels` steps."""

    name: str
    low: float
    high: float
    levels: int


@dataclass(frozen=True, slots=True)
class Speed:
    """How long one call takes on `[batch, tokens]`.

    Attributes:
        tokens: Tokens in a window.
        batch: Windows in a call.
        seconds: The median of the repeats.
        spread: The range of the repeats, as a share of the median.
    """

    tokens: int
    batch: int
    seconds: float
    spread: float

    @property
    def windows_per_second(self) -> float:
        """The windows that are processed in a second."""
        return self.batch / self.seconds


@dataclass(frozen=True, slots=True)
class Inspection:
    """One version, as `inspect` finds it.

    Attributes:
        version: Its number.
        manifest: Its manifest.
        sizes: The size of each file, in bytes.
        operations: The number of operations of the IR, by type.
        onnx_operations: The number of operations of the ONNX model, by type; empty without one.
        products: The matrix products of the IR, in the order of the graph.
        ranges: The ranges of the IR's activation quantisers.
        executed: How many operations OpenVINO executes, by type and then by precision.
    """

    version: int
    manifest: VersionManifest
    sizes: Mapping[str, int]
    operations: Mapping[str, int]
    onnx_operations: Mapping[str, int]
    products: tuple[Product, ...]
    ranges: tuple[ActivationRange, ...]
    executed: Mapping[str, Mapping[str, int]]

    @property
    def ir_size(self) -> int:
        """The size of the IR's files, in bytes."""
        return sum(size for name, size in self.sizes.items() if name != ONNX_FILE)

    @property
    def quantizers(self) -> dict[str, int]:
        """The number of quantising operations in both graphs, by type."""
        counts = {FAKE_QUANTIZE: self.operations.get(FAKE_QUANTIZE, 0)}
        for kind in ("QuantizeLinear", "DequantizeLinear"):
            counts[kind] = self.onnx_operations.get(kind, 0)
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Return the inspection for JSON output."""
        return {
            "version": self.version,
            "precision": self.manifest.precision,
            "scores": self.manifest.scores and self.manifest.scores.to_dict(),
            "sizes": dict(self.sizes),
            "operations": dict(self.operations),
            "onnx_operations": dict(self.onnx_operations),
            "quantizers": self.quantizers,
            "products": [asdict(product) for product in self.products],
            "activation_ranges": [asdict(each) for each in self.ranges],
            "executed": {kind: dict(counts) for kind, counts in self.executed.items()},
        }


def inspect(repository: Repository, version: int, model: str = MODEL_NAME) -> Inspection:
    """Read a version's graphs, and compile its IR to see what runs in which precision.

    Args:
        repository: The model repository.
        version: The version's number.
        model: The name of the model.

    Returns:
        What its files hold: operations, matrix products, quantisers' ranges and sizes.

    Raises:
        RepositoryError: There is no such version.
        ModelLoadError: It cannot be loaded.
    """
    directory = repository.require_version(version, model)
    manifest = repository.manifest(version, model)
    engine = OpenVINOEngine(directory / IR_FILE, version=version)
    graph = core().read_model(directory / IR_FILE)
    onnx_path = repository.version_dir(version, onnx_model_name(model)) / ONNX_FILE
    return Inspection(
        version=version,
        manifest=manifest,
        sizes=_sizes(directory, onnx_path),
        operations=_count(operation.get_type_name() for operation in graph.get_ops()),
        onnx_operations=_onnx_operations(onnx_path),
        products=tuple(_products(graph, engine.compiled, manifest)),
        ranges=tuple(_ranges(graph)),
        executed=_executed(engine.compiled),
    )


def operation_changes(before: Inspection, after: Inspection) -> list[tuple[str, int, int]]:
    """Compare the IRs' operations.

    Args:
        before: A version.
        after: The version to compare it with.

    Returns:
        Each type of operation with its number before and after; the largest changes come first.
    """
    kinds = sorted(before.operations.keys() | after.operations.keys())
    rows = [(kind, before.operations.get(kind, 0), after.operations.get(kind, 0)) for kind in kinds]
    return sorted(rows, key=lambda row: -abs(row[2] - row[1]))


def measure_speed(
    repository: Repository,
    versions: Iterable[int],
    *,
    model: str = MODEL_NAME,
    lengths: tuple[int, ...] = (128, 384),
    repeats: int = 7,
) -> dict[int, list[Speed]]:
    """Time versions' IRs in this process, in turns, one window at a time.

    Args:
        repository: The model repository.
        versions: The versions' numbers.
        model: The name of the model.
        lengths: The lengths of the windows, in tokens; those beyond the longest window of one of
            the versions are that long.
        repeats: How often each version is timed on each length.

    Returns:
        By version, one `Speed` for each length that differs.
    """
    engines = {
        version: OpenVINOEngine(
            repository.require_version(version, model) / IR_FILE, version=version
        )
        for version in versions
    }
    speeds: dict[int, list[Speed]] = {version: [] for version in engines}
    longest = min(engine.info.max_seq_len for engine in engines.values())
    for tokens in sorted({min(each, longest) for each in lengths}):
        for version, samples in time_windows(engines, tokens, repeats).items():
            speeds[version].append(Speed(tokens, 1, samples.median, samples.spread))
    return speeds


def _sizes(directory: Path, onnx_path: Path) -> dict[str, int]:
    paths = [path for path in sorted(directory.iterdir()) if path.stem == Path(IR_FILE).stem]
    if onnx_path.exists():
        paths.append(onnx_path)
    return {path.name: path.stat().st_size for path in paths}


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _onnx_operations(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except DecodeError as error:
        raise ModelLoadError(f"{path} is not an ONNX model: it is damaged.") from error
    return _count(node.op_type for node in graph.node)


def _executed(compiled: ov.CompiledModel) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for operation in executed_operations(compiled):
        found.setdefault(operation.kind, Counter())[operation.precision] += 1
    return {kind: dict(counts) for kind, counts in sorted(found.items())}


def _products(
    graph: ov.Model, compiled: ov.CompiledModel, manifest: VersionManifest
) -> Iterable[Product]:
    runs_in = {
        name.removesuffix(_DEQUANTIZED): operation.precision
        for operation in executed_operations(compiled)
        for name in operation.names
    }
    floating = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    quantised = any(map(is_quantizer, graph.get_ops()))
    operations = list(products_of(graph))
    label_of = labels(graph)
    for operation in operations:
        name = operation.get_friendly_name()
        precision = next((runs_in[each] for each in _names(operation) if each in runs_in), floating)
        label, inputs = label_of[name], operands(operation)
        if operation.get_type_name() == MATMUL:
            yield _product(label, inputs, precision, quantised, manifest)
        else:
            # What a fused attention takes decides on its first product: its probabilities cannot
            # have a quantiser.
            second = label.replace(QUERIES_KEYS, PROBABILITIES_VALUES)
            yield _product(label, inputs[:2], precision, quantised, manifest)
            yield Product(second, False, floating, _reason(second, quantised, manifest))


def _names(operation: ov.Node) -> Iterable[str]:
    """Yield what OpenVINO may call a product: its name, or that of the scale behind it."""
    yield operation.get_friendly_name()
    for port in operation.output(0).get_target_inputs():
        if port.get_node().get_type_name() == "Multiply":
            yield port.get_node().get_friendly_name()


def _product(
    name: str, inputs: list[ov.Input], precision: str, quantised: bool, manifest: VersionManifest
) -> Product:
    sources = [origin(port) for port in inputs]
    ranges = tuple(_range(node) for node in sources if is_quantizer(node))
    if precision in INTEGER:
        return Product(name, True, precision, ranges=ranges)
    reason = _reason(name, quantised, manifest)
    if reason == NO_QUANTISERS and all(map(_is_quantised, sources)):
        reason = LEFT_BY_OPENVINO
    return Product(name, False, precision, reason, ranges)


def _reason(name: str, quantised: bool, manifest: VersionManifest) -> str:
    """Return why no quantisers are before a product that runs in floating point."""
    if not quantised:
        return NOT_QUANTISED
    return KEPT if _is_kept(name, manifest) else NO_QUANTISERS


def _is_kept(name: str, manifest: VersionManifest) -> bool:
    """Return whether the recipe keeps a product, by its name here or by NNCF's, without layers."""
    patterns = manifest.recipe.get("quantization", {}).get("keep_floating_point") or ()
    layer, _, part = name.partition(" ")
    path = _NUMBERED.sub("", layer).replace(".", "/")
    operation = "linear/0" if not part else f"matmul/{int(PROBABILITIES_VALUES in part)}"
    node = f"{path}/{operation}"
    return any(is_kept(pattern, layer, name, node) for pattern in patterns)


def _is_quantised(source: ov.Node) -> bool:
    """Return whether a value comes from a FakeQuantize, or is a constant stored in INT8."""
    if source.get_type_name() == "Constant":
        return source.get_output_element_type(0) in (ov.Type.i8, ov.Type.u8)
    return is_quantizer(source)


def _range(quantizer: ov.Node) -> tuple[float, float]:
    low, high = (quantizer.input_value(index).get_node().get_data() for index in (1, 2))
    return float(np.min(low)), float(np.max(high))


def _ranges(graph: ov.Model) -> Iterable[ActivationRange]:
    for operation in filter(is_quantizer, graph.get_ordered_ops()):
        levels = int(operation.get_attributes()["levels"])
        yield ActivationRange(_consumer(operation), *_range(operation), levels)


def _consumer(quantizer: ov.Node) -> str:
    """Name the products that an activation quantiser feeds."""
    names: list[str] = []
    ports = list(quantizer.output(0).get_target_inputs())
    while ports:
        port = ports.pop()
        node = port.get_node()
        kind, name = node.get_type_name(), short(node.get_friendly_name())
        if kind == MATMUL:
            names.append(name)
        elif kind == ATTENTION:
            names.append(f"{name} ({_ATTENTION_INPUTS[port.get_index()]})")
        elif kind in PASSED_THROUGH:
            ports += node.output(0).get_target_inputs()
    holders = {name.rpartition(".")[0] for name in names}
    if len(names) < 2 or len(holders) > 1:
        return ", ".join(names) or short(quantizer.get_friendly_name())
    parts = sorted(name.rpartition(".")[2] for name in names)
    return f"{holders.pop()}.{{{', '.join(parts)}}}"
