"""What a published version is, and the repository that holds it."""

from bertqa.artifact._manifest import MANIFEST_FILE, GateResult, Scores, VersionManifest
from bertqa.artifact._model_info import ModelInfo
from bertqa.artifact._repository import (
    IR_FILE,
    MODEL_NAME,
    ONNX_FILE,
    Repository,
    onnx_model_name,
    sha256_of,
)
from bertqa.artifact._split import (
    SPLIT_KEY,
    WHOLE,
    Split,
    format_split,
    parse_split,
    split_model_name,
)
from bertqa.artifact._synthetic import synthetic_inputs
from bertqa.artifact._tensors import (
    ATTENTION_MASK,
    END_LOGITS,
    INPUT_IDS,
    INPUTS,
    OUTPUTS,
    START_LOGITS,
    TOKEN_TYPE_IDS,
)
from bertqa.artifact._version_policy import VersionPolicy

__all__ = [
    "ATTENTION_MASK",
    "END_LOGITS",
    "INPUTS",
    "INPUT_IDS",
    "IR_FILE",
    "MANIFEST_FILE",
    "MODEL_NAME",
    "ONNX_FILE",
    "OUTPUTS",
    "SPLIT_KEY",
    "START_LOGITS",
    "TOKEN_TYPE_IDS",
    "WHOLE",
    "GateResult",
    "ModelInfo",
    "Repository",
    "Scores",
    "Split",
    "VersionManifest",
    "VersionPolicy",
    "format_split",
    "onnx_model_name",
    "parse_split",
    "sha256_of",
    "split_model_name",
    "synthetic_inputs",
]
