"""What a long context does to the other tasks of an event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bertqa import _defaults
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import END_LOGITS, START_LOGITS
from bertqa.client import AsyncQAClient
from bertqa.errors import DataError
from bertqa.evaluation._timing import Samples
from bertqa.qa import QATokenizer
from bertqa.transport import InferResult, Inputs, ModelMetadata, Transport

_CHARACTERS = 10_000_000
_BEAT_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class LoopTimes:
    """How late another task of the loop was, in milliseconds, while one context was answered.

    `own` is the most of it that this process can have caused: it was late for no longer by the
    process's doing than the process computed meanwhile, on all cores. `idle` is how late it was at
    most in the same time while nothing else ran.
    """

    characters: int
    windows: int
    seconds: float
    longest: float
    own: float
    p99: float
    idle: float


def time_loop(
    transport: Transport,
    contexts: Sequence[str],
    *,
    characters: int = _CHARACTERS,
    tokenizer: QATokenizer | None = None,
    version: int | None = None,
    timeout: float = _defaults.LOCAL_TIMEOUT_SECONDS,
    on_progress: OnProgress = ignore,
) -> LoopTimes:
    """Answer one long context, and measure how late another task of the loop is meanwhile.

    The model is left out: random logits take its place, so that the time is the client's own. What
    is in memory before is left out of garbage collection, whose pauses depend on it.

    Args:
        transport: The way to the model, which describes itself.
        contexts: What the long context is made of.
        characters: Its length.
        tokenizer: A tokenizer in place of the model's own.
        version: The version whose tokenizer is taken; None is the default.
        timeout: Seconds for the answer.
        on_progress: Called with each step.

    Returns:
        How late the other task was.

    Raises:
        DataError: There is no context.
        BertQAError: What asking raises.
    """
    text = "\n".join(contexts)
    if not text.strip():
        raise DataError("There is no context to measure with.")
    context = (text * (characters // len(text) + 1))[:characters]
    model = _Random(transport.metadata(version=version, timeout=timeout))
    on_progress(Progress("Answering a long context", 0, 2, "steps"))

    async def measure() -> LoopTimes:
        async with AsyncQAClient(transport=model, tokenizer=tokenizer, timeout=timeout) as client:
            await client.answer("What is it?", "It is a short context.")
            model.windows = 0
            gc.collect()
            gc.freeze()
            try:
                begin = time.perf_counter()
                answering = asyncio.create_task(client.answer("What is it?", context))
                beats = await _beats_until(answering)
                seconds = time.perf_counter() - begin
                on_progress(Progress("Answering a long context", 1, 2, "steps"))
                idle = await _beats_until(asyncio.create_task(asyncio.sleep(seconds)))
            finally:
                gc.unfreeze()
        late, alone = (Samples(tuple(each for each, _ in found)) for found in (beats, idle))
        return LoopTimes(
            characters=len(context),
            windows=model.windows,
            seconds=seconds,
            longest=1000 * max(late.values),
            own=1000 * max(min(beat) for beat in beats),
            p99=1000 * late.quantile(0.99),
            idle=1000 * max(alone.values),
        )

    return asyncio.run(measure())


async def _beats_until(task: asyncio.Task[object]) -> list[tuple[float, float]]:
    """Return of each beat before a task was done how late it was and what the process computed.

    Both are in seconds; the second is processor time since the beat before.
    """
    late = []
    while not task.done():
        begin, computed = time.perf_counter(), time.process_time()
        await asyncio.sleep(_BEAT_SECONDS)
        seconds = max(time.perf_counter() - begin - _BEAT_SECONDS, 0.0)
        late.append((seconds, time.process_time() - computed))
    await task
    return late


class _Random:
    """Answers with random logits, at once."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self.windows = 0
        self._metadata = metadata
        self._chance = np.random.default_rng(0)

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        shape = next(iter(inputs.values())).shape
        self.windows += shape[0]
        await asyncio.sleep(0)
        outputs = {
            name: self._chance.standard_normal(shape, dtype=np.float32)
            for name in (START_LOGITS, END_LOGITS)
        }
        return InferResult(outputs, max(self._metadata.versions))

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        return self._metadata

    async def close(self) -> None:
        pass
