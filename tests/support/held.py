"""An asynchronous transport on which requests wait until a test lets them through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from bertqa.artifact import ModelInfo
from bertqa.errors import BertQAError, DeadlineExceededError
from bertqa.transport import CALL_HEADERS, InferResult, Inputs, ModelMetadata
from tests.support.in_process import InProcessTransport


class HeldTransport:
    """Runs toy versions in this process; see `InProcessTransport`.

    While `open` is not set, requests wait. Each is in `sent` with its shape, its version and the
    headers of the call, from when it comes; `failing` makes an error of the next ones.
    """

    def __init__(self, versions: Mapping[int, ModelInfo] | None = None) -> None:
        self.inner = InProcessTransport(versions)
        self.open = asyncio.Event()
        self.open.set()
        self.sent: list[tuple[tuple[int, ...], int | None, Mapping[str, str]]] = []
        self.cancelled = 0
        self.failing: list[Callable[[], BertQAError]] = []

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        self.sent.append((inputs["input_ids"].shape, version, dict(CALL_HEADERS.get())))
        try:
            async with asyncio.timeout(timeout):
                await self.open.wait()
        except TimeoutError:
            raise DeadlineExceededError("There was no answer in time.") from None
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failing:
            raise self.failing.pop(0)()
        return self.inner.infer(inputs, version=version, timeout=timeout)

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        return self.inner.metadata(version=version, timeout=timeout)

    async def close(self) -> None:
        self.inner.close()
