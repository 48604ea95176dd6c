"""Toy models run in this process, behind the client's contract."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping

import numpy as np
import openvino as ov

from bertqa.artifact import ModelInfo
from bertqa.errors import VersionNotFoundError
from bertqa.runtime.openvino import core
from bertqa.transport import InferResult, Inputs, ModelMetadata
from tests.support.models import model_info, rt_info, toy_qa_model

_creating = threading.Lock()


@functools.cache
def _compiled(version: int) -> ov.CompiledModel:
    return core().compile_model(toy_qa_model(seed=version), "CPU")


class InProcessTransport:
    """Serves toy versions, with a version's number as its seed; the highest is the default.

    `versions` may be changed at any time. The requests are kept in `requests`, in order.
    """

    def __init__(self, versions: Mapping[int, ModelInfo] | None = None) -> None:
        self.versions = dict(versions or {1: model_info()})
        self.requests: list[tuple[int | None, tuple[int, ...]]] = []
        self.described: list[int | None] = []
        self.closed = False

    def _resolve(self, version: int | None) -> int:
        found = max(self.versions) if version is None else version
        if found not in self.versions:
            raise VersionNotFoundError(f"There is no version {version}.")
        return found

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        number = self._resolve(version)
        self.requests.append((version, inputs["input_ids"].shape))
        with _creating:  # Created in many threads at once, one in thousands aborted the process.
            request = _compiled(number).create_infer_request()
        outputs = request.infer(dict(inputs))
        logits = {name: np.array(outputs[name]) for name in ("start_logits", "end_logits")}
        return InferResult(logits, number)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        number = self._resolve(version)
        self.described.append(version)
        return ModelMetadata(
            name="bert-qa",
            versions=tuple(sorted(self.versions)),
            inputs=dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "INT64"),
            outputs=dict.fromkeys(("start_logits", "end_logits"), "FP32"),
            rt_info=dict(rt_info(self.versions[number])),
        )

    def close(self) -> None:
        self.closed = True
