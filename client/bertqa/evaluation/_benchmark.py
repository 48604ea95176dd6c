"""Where the time of a question goes: tokenising, collating, transport, decoding."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bertqa import _defaults
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import ATTENTION_MASK, INPUT_IDS
from bertqa.client import ModelRegistry, ModelSpec, QAClient
from bertqa.errors import DataError
from bertqa.evaluation._timing import Samples, time_call
from bertqa.qa import PipelineDecoder, QATokenizer, collate, split_logits
from bertqa.transport import InferResult, Inputs, ModelMetadata, Transport

Pairs = Sequence[tuple[str, str]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QuestionTimes:
    """Medians over single questions, in milliseconds; `windows` is their mean number.

    `own` is what the client itself takes for a question, from the call of `answer` to its return,
    where questions come in their order, in which several have one context; `own_on_new` where each
    has a context that the client does not keep. The model's outputs are those of before, there at
    once: what the server does to the processor and its caches does not count.
    """

    questions: int
    windows: float
    tokenizing: float
    collating: float
    transport: float
    decoding: float
    own: float
    own_on_new: float


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

    @property
    def share(self) -> float | None:
        """What `answer_many` reaches of the engine alone; None where that was not measured."""
        return None if self.alone is None else self.windows_per_second / self.alone


def time_questions(
    transport: Transport,
    pairs: Pairs,
    *,
    tokenizer: QATokenizer | None = None,
    version: int | None = None,
    timeout: float = _defaults.TIMEOUT_SECONDS,
    on_progress: OnProgress = ignore,
) -> QuestionTimes:
    """Ask one question after the other, and time each step by itself, and then the whole.

    They are shuffled, so that no context is met again soon, and one is asked before, so that
    nothing is timed that happens only once.

    Args:
        transport: The way to the model.
        pairs: Questions with their contexts.
        tokenizer: A tokenizer in place of the model's own.
        version: The version to ask; None asks the default.
        timeout: Seconds for a request.
        on_progress: Called with each question that is answered.

    Returns:
        Medians over the questions, in milliseconds.

    Raises:
        DataError: There is no pair.
        BertQAError: What asking raises.
    """
    _require(pairs)
    spec = ModelRegistry(tokenizer).learn(
        version, transport.metadata(version=version, timeout=timeout)
    )
    shuffled = random.Random(0).sample(pairs, len(pairs))
    every: list[list[float]] = []
    windows_met = 0
    for number, pair in enumerate([shuffled[-1], *shuffled]):
        seconds, windows = _time_question(transport, spec, *pair, version, timeout)
        if number:
            windows_met += windows
            every.append(seconds)
            on_progress(Progress("Timing single questions", number, len(pairs), "questions"))
    replay = _Replay(transport)
    orders = {"recorded": shuffled, "own": pairs, "own_on_new": shuffled}
    own: dict[str, list[float]] = {}
    for name, ordered in orders.items():
        # Another client, which keeps no context yet.
        client = QAClient(transport=replay, version=version, tokenizer=tokenizer, timeout=timeout)
        client.answer(*shuffled[-1])
        own[name] = []
        for number, pair in enumerate(ordered, 1):
            own[name].append(replay.time_without(partial(client.answer, *pair)))
            on_progress(Progress("Timing the client alone", number, len(pairs), "questions"))
        client.close()
    steps = zip(*every, strict=True)
    medians = [
        1000 * Samples(tuple(each)).median for each in (*steps, own["own"], own["own_on_new"])
    ]
    return QuestionTimes(len(pairs), windows_met / len(pairs), *medians)


class _Replay:
    """Asks a transport once for each input; closing it leaves the transport open."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._results: dict[tuple[bytes, ...], InferResult] = {}
        self._seconds = 0.0

    def time_without(self, call: Callable[[], object]) -> float:
        """Return the seconds that a call takes, without those that pass in here."""
        self._seconds = 0.0
        return time_call(call) - self._seconds

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        begin = time.perf_counter()
        key = tuple(array.tobytes() for array in inputs.values())
        if key not in self._results:
            self._results[key] = self._transport.infer(inputs, version=version, timeout=timeout)
        self._seconds += time.perf_counter() - begin
        return self._results[key]

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        return self._transport.metadata(version=version, timeout=timeout)

    def close(self) -> None:
        pass


def _time_question(
    transport: Transport,
    spec: ModelSpec,
    question: str,
    context: str,
    version: int | None,
    timeout: float,
) -> tuple[list[float], int]:
    """Return the seconds of each step of a question, and the number of its windows."""
    seconds: list[float] = []

    def timed(step: Callable[[], T]) -> T:
        results: list[T] = []
        seconds.append(time_call(lambda: results.append(step())))
        return results[0]

    windows = timed(
        lambda: spec.windows(
            question,
            context,
            max_seq_len=None,
            doc_stride=None,
            max_question_len=_defaults.MAX_QUESTION_LEN,
        )
    )
    inputs = timed(lambda: collate(windows))
    result = timed(lambda: transport.infer(inputs, version=version, timeout=timeout))
    timed(
        lambda: PipelineDecoder().decode(context, windows, split_logits(result.outputs, windows), 1)
    )
    return seconds, len(windows)


def time_stream(
    transport: Transport,
    pairs: Pairs,
    *,
    alone: Transport | None = None,
    tokenizer: QATokenizer | None = None,
    version: int | None = None,
    timeout: float = _defaults.TIMEOUT_SECONDS,
    on_progress: OnProgress = ignore,
) -> StreamTimes:
    """Send all questions through `answer_many`, twice, and time the second time.

    Args:
        transport: The way to the model.
        pairs: Questions with their contexts.
        alone: An engine in this process that runs the same batches, one after the other, twice
            too.
        tokenizer: A tokenizer in place of the model's own.
        version: The version to ask; None asks the default.
        timeout: Seconds for a request.
        on_progress: Called with each pass over the questions.

    Returns:
        What the second pass reached.

    Raises:
        DataError: There is no pair.
        BertQAError: What asking raises.
    """
    _require(pairs)
    recorder = _Recorder(transport)
    client = QAClient(transport=recorder, version=version, tokenizer=tokenizer, timeout=timeout)

    def ask() -> None:
        recorder.batches.clear()
        for _ in client.answer_many(pairs):
            pass

    taken = _second_time(ask, "Asking all questions", on_progress)
    batches = recorder.batches
    windows = sum(len(batch[INPUT_IDS]) for batch in batches)
    tokens = sum(batch[INPUT_IDS].size for batch in batches)
    real = sum(int(batch[ATTENTION_MASK].sum()) for batch in batches)
    rate_alone = None
    if alone is not None:

        def run() -> None:
            for batch in batches:
                alone.infer(batch, version=None, timeout=timeout)

        rate_alone = windows / _second_time(run, "Running the same batches alone", on_progress)
    return StreamTimes(
        questions=len(pairs),
        windows=windows,
        batches=len(batches),
        padding=1 - real / tokens,
        windows_per_second=windows / taken,
        alone=rate_alone,
    )


def _second_time(call: Callable[[], None], stage: str, on_progress: OnProgress) -> float:
    """Return the seconds of the second of two calls: the first one meets every shape."""
    for done in range(2):
        on_progress(Progress(stage, done, 2, "passes"))
        seconds = time_call(call)
    return seconds


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


def _require(pairs: Pairs) -> None:
    if not pairs:
        raise DataError("There is no question to measure with.")
