"""The models to measure: an architecture with random weights, or a checkpoint, in all formats."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedModel

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import ModelInfo, synthetic_inputs
from bertqa_build.bench.architectures import ARCHITECTURES
from bertqa_build.bench.plan import BenchFiles, Precision
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.export import to_onnx, to_openvino, write_onnx, write_openvino
from bertqa_build.families import family_of
from bertqa_build.model import SpanModel
from bertqa_build.quantization import quantize
from bertqa_build.recipe import Quantization

CALIBRATION_TOKENS = 128


def prepare(
    model: str, work_dir: Path, on_progress: OnProgress, *, max_seq_len: int
) -> tuple[BenchFiles, str]:
    """Make the files of a model, unless they are there.

    Args:
        model: A key of `ARCHITECTURES`, which gets random weights, or the source of a checkpoint
            as a recipe names it.
        work_dir: The files are kept in its folder `bench`.
        on_progress: Called with each step.
        max_seq_len: The tokens that the model has to take.

    Returns:
        The files, and a sentence that describes the model.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or does not take so many tokens.
        BuildError: The model cannot be exported.
    """
    description = (
        f"{model}: random weights in its architecture; speed does not depend on their values"
        if model in ARCHITECTURES
        else f"{model}: quantised on random text, for speed alone"
    )
    files = BenchFiles(work_dir / "bench" / model.strip("/").replace("/", "--"))
    if files.root.is_dir():
        return files, description
    staged = files.root.with_name(f".{files.root.name}")
    shutil.rmtree(staged, ignore_errors=True)
    plain: PreTrainedModel = (
        random_model(model)
        if model in ARCHITECTURES
        else load_checkpoint(model, needs_head=False, max_seq_len=max_seq_len).model
    )
    fp32 = SpanModel(plain).eval()
    on_progress(Progress(f"Quantising {model}"))
    settings = Quantization(calibration_windows=1)
    words = synthetic_inputs(1, CALIBRATION_TOKENS, ids=range(fp32.vocabulary))
    calibration = {name: array[0] for name, array in words.items()}
    int8 = quantize(fp32, [calibration], settings)
    info = ModelInfo(tokenizer_json="{}", max_seq_len=512, doc_stride=128, source=description)
    made = BenchFiles(staged)
    for module, precision in ((fp32, Precision.FP32), (int8, Precision.INT8)):
        on_progress(Progress(f"Exporting {model} in {precision}"))
        made.ir(precision).parent.mkdir(parents=True)
        quantized = precision is Precision.INT8
        write_openvino(to_openvino(module, quantized=quantized), info, made.ir(precision))
        write_onnx(to_onnx(module, quantized=quantized), info, made.onnx(precision))
    plain.config.save_pretrained(staged)
    staged.rename(files.root)
    return files, description


def random_model(model: str) -> PreTrainedModel:
    """Return a model with random weights, and eager attention.

    Args:
        model: A key of `ARCHITECTURES`.
    """
    torch.manual_seed(0)
    model_type, settings = ARCHITECTURES[model]
    config = AutoConfig.for_model(model_type, **settings)
    config._attn_implementation = "eager"
    return family_of(model_type).model_class(config)
