"""The clients, and what they decide without any input or output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bertqa._late import late_name
from bertqa.client._async.client import AsyncQAClient
from bertqa.client._kinds import check_client
from bertqa.client._model_registry import ModelRegistry, ModelSpec
from bertqa.client._options import AskOptions, check_options, check_top_k
from bertqa.client._recorder import Recorder
from bertqa.client._router import WeightedRouter
from bertqa.client._split_poller import noticed_seconds, split_of
from bertqa.client._sync.client import QAClient
from bertqa.client._tracing import STAGES, continue_trace

if TYPE_CHECKING:
    from bertqa.client._batch import BatchReport, answer_file

__all__ = [
    "STAGES",
    "AskOptions",
    "AsyncQAClient",
    "BatchReport",
    "ModelRegistry",
    "ModelSpec",
    "QAClient",
    "Recorder",
    "WeightedRouter",
    "answer_file",
    "check_client",
    "check_options",
    "check_top_k",
    "continue_trace",
    "noticed_seconds",
    "split_of",
]


def __getattr__(name: str) -> Any:
    """Return a public name of what answers files, which is imported when it is asked for."""
    globals()[name] = value = late_name(__name__, name, __all__, ("_batch",))
    return value
