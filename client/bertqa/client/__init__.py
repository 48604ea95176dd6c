"""The clients, and what they decide without any input or output."""

from bertqa.client._async_client import AsyncQAClient
from bertqa.client._batch_file import answer_file
from bertqa.client._batcher import split_logits
from bertqa.client._client import QAClient
from bertqa.client._local import load_models_with
from bertqa.client._model_registry import ModelRegistry, ModelSpec
from bertqa.client._recorder import Recorder
from bertqa.client._split_poller import noticed_seconds, split_of

__all__ = [
    "AsyncQAClient",
    "ModelRegistry",
    "ModelSpec",
    "QAClient",
    "Recorder",
    "answer_file",
    "load_models_with",
    "noticed_seconds",
    "split_logits",
    "split_of",
]
