"""Asking so many questions at once, as the HTTP API does, with the time of each phase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import ATTENTION_MASK, INPUT_IDS
from bertqa.client import STAGES, AsyncQAClient
from bertqa.transport import AsyncTransport, InferResult, Inputs, ModelMetadata

Pairs = Sequence[tuple[str, str]]
_TOKENIZE, _DECODE, _INFER = "bertqa.tokenize", "bertqa.decode", "bertqa.infer"


@dataclass(frozen=True, slots=True)
class Asked:
    """What asking questions took. Times are means over the questions, in milliseconds.

    Attributes:
        questions: The questions.
        windows: Their windows.
        padding: The share of all tokens that is padding.
        batches: The requests that the client made, in their order.
        questions_per_second: Questions that were answered in a second.
        total_ms: From the question to its answer.
        tokenize_ms: To make windows of it.
        decode_ms: To find the answer in what the model said.
        away_ms: From the last window to the model's answer: the waiting in the client, and
            `request_ms`.
        request_ms: The request with its windows, from the client's call to the server's answer.
        requests_ms: All requests together.
        collate_ms: Of `away_ms`, the time to make a batch of the windows.
        client_cpu_ms: What the client's process took of the processor.
    """

    questions: int
    windows: int
    padding: float
    batches: tuple[Inputs, ...] = field(repr=False)
    questions_per_second: float
    total_ms: float
    tokenize_ms: float
    decode_ms: float
    away_ms: float
    request_ms: float
    requests_ms: float
    collate_ms: float
    client_cpu_ms: float


@dataclass(slots=True)
class _Times:
    """The times of one question in seconds, and when its windows were there and were answered."""

    total: float = 0.0
    tokenize: float = 0.0
    decode: float = 0.0
    sent_at: float = 0.0
    back_at: float = 0.0


class _Recorder:
    """Keeps what goes through a transport, and how long each request takes."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.requests: list[tuple[Inputs, float]] = []

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        begin = time.perf_counter()
        result = await self._transport.infer(inputs, version=version, timeout=timeout)
        self.requests.append((inputs, time.perf_counter() - begin))
        return result

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        return await self._transport.metadata(version=version, timeout=timeout)

    async def close(self) -> None:
        await self._transport.close()


def ask(
    open_transport: Callable[[], AsyncTransport],
    pairs: Pairs,
    *,
    version: int | None,
    at_once: int,
    timeout: float,
    on_progress: OnProgress = ignore,
    on_begin: Callable[[], None] = lambda: None,
) -> Asked:
    """Ask all questions twice, and take the times of the second pass.

    Args:
        open_transport: Opens the way to the model.
        pairs: Questions with their contexts, at least one.
        version: The version to ask; None asks the default.
        at_once: How many questions are on their way at once.
        timeout: Seconds for an answer.
        on_progress: Called with each answer.
        on_begin: Called as the second pass begins.

    Returns:
        What that took.

    Raises:
        BertQAError: A question is not answered.
    """
    return asyncio.run(
        _ask(open_transport, pairs, version, at_once, timeout, on_progress, on_begin)
    )


async def _ask(
    open_transport: Callable[[], AsyncTransport],
    pairs: Pairs,
    version: int | None,
    at_once: int,
    timeout: float,
    on_progress: OnProgress,
    on_begin: Callable[[], None],
) -> Asked:
    transport = _Recorder(open_transport())
    async with AsyncQAClient(transport=transport, version=version, timeout=timeout) as client:
        try:
            for is_last in (False, True):
                stage = "Timing questions" if is_last else "Warming up"
                transport.requests.clear()
                if is_last:
                    on_begin()
                begin, cpu = time.perf_counter(), time.process_time()
                found, infer = await _pass(client, pairs, at_once, stage, on_progress)
            taken, computed = time.perf_counter() - begin, time.process_time() - cpu
        finally:
            await transport.close()
    return _summed(found, transport.requests, infer, taken, computed)


async def _pass(
    client: AsyncQAClient, pairs: Pairs, at_once: int, stage: str, on_progress: OnProgress
) -> tuple[list[_Times], float]:
    """Return the times of each question, and the seconds of all requests with their collating."""
    coming: Iterator[tuple[str, str]] = iter(pairs)
    found: list[_Times] = []
    infer = 0.0

    async def ask_on() -> None:
        nonlocal infer
        times = _Times()

        def on_stage(name: str, seconds: float, attributes: Mapping[str, int]) -> None:
            nonlocal infer
            if name == _TOKENIZE:
                times.tokenize, times.sent_at = seconds, time.perf_counter()
            elif name == _DECODE:
                times.decode, times.back_at = seconds, time.perf_counter() - seconds
            elif name == _INFER:  # Maybe of several questions.
                infer += seconds

        STAGES.set(on_stage)
        for pair in coming:
            times = _Times()
            begin = time.perf_counter()
            await client.answer(*pair)
            times.total = time.perf_counter() - begin
            found.append(times)
            on_progress(Progress(stage, len(found), len(pairs), "questions"))

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(ask_on())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return found, infer


def _summed(
    found: list[_Times],
    requests: list[tuple[Inputs, float]],
    infer: float,
    taken: float,
    computed: float,
) -> Asked:
    count = len(found)
    windows = [len(inputs[INPUT_IDS]) for inputs, _ in requests]
    tokens = sum(inputs[INPUT_IDS].size for inputs, _ in requests)
    real = sum(int(inputs[ATTENTION_MASK].sum()) for inputs, _ in requests)
    # Each window of a batch waits for all of it.
    waited = sum(rows * seconds for rows, (_, seconds) in zip(windows, requests, strict=True))
    per_request = sum(seconds for _, seconds in requests)
    request = waited / sum(windows)
    return Asked(
        questions=count,
        windows=sum(windows),
        padding=1 - real / tokens,
        batches=tuple(inputs for inputs, _ in requests),
        questions_per_second=count / taken,
        total_ms=1000 * sum(each.total for each in found) / count,
        tokenize_ms=1000 * sum(each.tokenize for each in found) / count,
        decode_ms=1000 * sum(each.decode for each in found) / count,
        away_ms=1000 * sum(each.back_at - each.sent_at for each in found) / count,
        request_ms=1000 * request,
        requests_ms=1000 * per_request,
        collate_ms=1000 * max(infer / per_request - 1, 0.0) * request,
        client_cpu_ms=1000 * computed / count,
    )
