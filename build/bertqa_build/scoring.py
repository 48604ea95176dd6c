"""Score the very files that are published: open and evaluate them, and record their scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import Scores, write_whole
from bertqa.client import QAClient
from bertqa.evaluation import SquadDataset, evaluate_each
from bertqa.runtime import Engine
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa_build.result import Scored

_END_OF_MODEL_INFO = "</model_info>"
_DECIMALS = 4


def score_openvino(path: Path, dataset: SquadDataset, on_progress: OnProgress) -> Scored:
    """Evaluate an IR with OpenVINO, and write its scores into its `rt_info`.

    Args:
        path: The .xml file; all but its `rt_info` stays as it was evaluated.
        dataset: The questions.
        on_progress: Called with the number of questions that are answered.

    Returns:
        The scores.
    """
    scored = _evaluate(OpenVINOEngine(path), f"{path.name} with OpenVINO", dataset, on_progress)
    text = path.read_text(encoding="utf-8")
    entries = "".join(
        f'<{key} value="{value}" />' for key, value in _entries(scored.scores).items()
    )
    write_whole(path, text.replace(_END_OF_MODEL_INFO, entries + _END_OF_MODEL_INFO))
    return scored


def score_onnx(path: Path, dataset: SquadDataset, on_progress: OnProgress) -> Scored:
    """Evaluate an ONNX model with ONNX Runtime, and write its scores into its metadata.

    Args:
        path: The .onnx file; all but its metadata properties stays as it was evaluated.
        dataset: The questions.
        on_progress: Called with the number of questions that are answered.

    Returns:
        The scores.
    """
    engine = OnnxRuntimeEngine(path)
    scored = _evaluate(engine, f"{path.name} with ONNX Runtime", dataset, on_progress)
    properties = onnx.ModelProto()
    onnx.helper.set_model_props(properties, _entries(scored.scores))
    # Protocol buffers that stand one after the other are one message, with the entries of both.
    with path.open("ab") as file:
        file.write(properties.SerializeToString())
    return scored


def _evaluate(engine: Engine, what: str, dataset: SquadDataset, on_progress: OnProgress) -> Scored:
    stage = f"Evaluating {engine.info.precision} {what} on {dataset.name}"

    def report(progress: Progress) -> None:
        on_progress(replace(progress, stage=stage))

    with QAClient(transport=engine, timeout=None) as qa:
        return Scored(*evaluate_each(qa, dataset, on_progress=report))


def _entries(scores: Scores) -> dict[str, str]:
    return {
        "f1": str(round(scores.f1, _DECIMALS)),
        "exact_match": str(round(scores.exact_match, _DECIMALS)),
    }
