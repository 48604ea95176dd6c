"""Where the time of a question goes: tokenising, stacking, transport, decoding."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bertqa import _defaults
from bertqa.artifact import ATTENTION_MASK, INPUT_IDS
from bertqa.client import ModelRegistry, QAClient
from bertqa.errors import DataError
from bertqa.qa import PipelineDecoder, QATokenizer, collate, split_logits
from bertqa.transport import InferResult, Inputs, ModelMetadata, Transport

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class QuestionTimes:
    """Medians over single questions, in milliseconds; `windows` is their mean number."""

    questions: int
    windows: float
    tokenizing: float
    stacking: float
    transport: float
    decoding: float

    @property
    def own(self) -> float:
        """What the client itself takes."""
        return self.tokenizing + self.stacking + self.decoding


@dataclass(frozen=True, slots=True)
class StreamTimes:
    """What `answer_many` reaches: windows a second, and the part of all tokens that is padding.

    `alone` is what the engine alone reaches on the same batches, where it was measured.
    """

    questions: int
    windows: int
    batches: int
    padding: float
    windows_per_second: float
    alone: float | None = None


def time_questions(
    transport: Transport,
    pairs: Pairs,
    *,
    tokenizer: QATokenizer | None = None,
    version: int | None = None,
    timeout: float = _defaults.TIMEOUT_SECONDS,
) -> QuestionTimes:
    """Ask one question after the other, and time each step by itself.

    They are shuffled, so that no context is met again soon, and one is asked before, so that
    nothing is timed that happens only once. Raises DataError without a pair, and what asking
    raises.
    """
    _require(pairs)
    spec = ModelRegistry(tokenizer).learn(
        version, transport.metadata(version=version, timeout=timeout)
    )
    decoder = PipelineDecoder()
    steps: dict[str, list[float]] = {name: [] for name in ("tokenize", "stack", "send", "decode")}
    windows_met = 0
    shuffled = random.Random(0).sample(pairs, len(pairs))
    for number, (question, context) in enumerate([shuffled[-1], *shuffled]):
        seconds: dict[str, float] = {}
        with _timed(seconds, "tokenize"):
            windows = spec.windows(
                question,
                context,
                max_seq_len=None,
                doc_stride=None,
                max_question_len=_defaults.MAX_QUESTION_LEN,
            )
        with _timed(seconds, "stack"):
            inputs = collate(windows)
        with _timed(seconds, "send"):
            result = transport.infer(inputs, version=version, timeout=timeout)
        with _timed(seconds, "decode"):
            decoder.decode(context, windows, split_logits(result.outputs, windows), 1)
        if number:
            windows_met += len(windows)
            for name, taken in seconds.items():
                steps[name].append(taken * 1000)
    return QuestionTimes(
        len(pairs), windows_met / len(pairs), *(statistics.median(each) for each in steps.values())
    )


def time_stream(
    transport: Transport,
    pairs: Pairs,
    *,
    alone: Transport | None = None,
    tokenizer: QATokenizer | None = None,
    version: int | None = None,
    timeout: float = _defaults.TIMEOUT_SECONDS,
) -> StreamTimes:
    """Send all questions through `answer_many`, twice, and time the second time.

    `alone` runs the same batches, one after the other, in this process: an in-process engine. Both
    meet every shape before they are timed. Raises DataError without a pair, and what asking raises.
    """
    _require(pairs)
    recorder = _Recorder(transport)
    client = QAClient(transport=recorder, version=version, tokenizer=tokenizer, timeout=timeout)
    for _ in range(2):
        recorder.batches.clear()
        begin = time.perf_counter()
        for _ in client.answer_many(pairs):
            pass
        taken = time.perf_counter() - begin
    batches = recorder.batches
    windows = sum(len(batch[INPUT_IDS]) for batch in batches)
    tokens = sum(batch[INPUT_IDS].size for batch in batches)
    real = sum(int(batch[ATTENTION_MASK].sum()) for batch in batches)
    return StreamTimes(
        questions=len(pairs),
        windows=windows,
        batches=len(batches),
        padding=1 - real / tokens,
        windows_per_second=windows / taken,
        alone=None if alone is None else windows / _time_alone(alone, batches, timeout),
    )


def _time_alone(engine: Transport, batches: list[Inputs], timeout: float) -> float:
    for _ in range(2):
        begin = time.perf_counter()
        for batch in batches:
            engine.infer(batch, version=None, timeout=timeout)
        taken = time.perf_counter() - begin
    return taken


class _Recorder:
    """Keeps what goes through a transport; closing it leaves the transport open."""

    def __init__(self, transport: Transport) -> None:
        self.batches: list[Inputs] = []
        self._transport = transport
        self._lock = threading.Lock()

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        with self._lock:
            self.batches.append(inputs)
        return self._transport.infer(inputs, version=version, timeout=timeout)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        return self._transport.metadata(version=version, timeout=timeout)

    def close(self) -> None:
        pass


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def _require(pairs: Pairs) -> None:
    if not pairs:
        raise DataError("There is no question to measure with.")
