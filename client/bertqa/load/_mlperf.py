"""A system under test for MLCommons' LoadGen: questions to a served model, judged by its rules.

The scenarios and the 130 ms of the 99th percentile in Server are those of BERT in MLPerf Inference
(data centre). Data, model and durations are the user's, so that no run is an official result.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from bertqa import Answer, AsyncQAClient
from bertqa.errors import BertQAError
from bertqa.evaluation import SquadDataset
from bertqa.evaluation._metrics import score
from bertqa.load._early_stopping import questions_needed
from bertqa.load._process import Part, PartUnderWay
from bertqa.load._stage import Shape
from bertqa.load._target import Pair
from bertqa.transport._background import SyncCall

SERVER_LATENCY_SECONDS = 0.13
_PERCENT = 99.0
OFFICIAL_SECONDS, OFFICIAL_QUESTIONS = 600, 10_833
_SUMMARY = "mlperf_log_summary.txt"
_LOOK_SECONDS = 1.0
_NANOSECONDS = 1_000_000_000
_WARM_UP_SECONDS = 3.0


class Scenario(StrEnum):
    """How LoadGen asks.

    SingleStream: one question, then the next. Offline: all at once. Server: at the times of a
    Poisson process.
    """

    SINGLE_STREAM = "SingleStream"
    OFFLINE = "Offline"
    SERVER = "Server"


# As a load test that finds a rate begins.
_WARM_UP = {
    Scenario.SINGLE_STREAM: Shape(at_once=1),
    Scenario.OFFLINE: Shape(at_once=32),
    Scenario.SERVER: Shape(at_once=32),
}


@dataclass(frozen=True, slots=True)
class MlperfPlan:
    """One run of LoadGen.

    Attributes:
        scenario: How it asks.
        is_accuracy: Whether it asks each question once, for the scores; else it measures.
        rate: Questions per second in Server; for Offline what is expected.
        seconds: How long it measures at least.
        logs: Where it writes its logs.
    """

    scenario: Scenario
    is_accuracy: bool
    rate: float
    seconds: float
    logs: Path

    @property
    def is_too_short(self) -> bool:
        """Whether too few questions come in Server for any verdict but INVALID."""
        is_judged = self.scenario is Scenario.SERVER and not self.is_accuracy
        return is_judged and self.rate * self.seconds < questions_needed(0, _PERCENT)

    @property
    def least_seconds(self) -> int:
        """How long as many questions take to come in Server as early stopping asks for."""
        return math.ceil(questions_needed(0, _PERCENT) / self.rate)


@dataclass(frozen=True, slots=True)
class MlperfResult:
    """What LoadGen says.

    Attributes:
        is_valid: Its verdict, and that each question was answered; without one, in accuracy mode,
            the latter alone.
        figures: Its summary by its own names.
        remarks: What it recommends, and what early stopping would take, in its words.
        errors: How many questions were not answered, by the kind of error.
        version: The version that answered the first question; None where that is not known.
        f1: The F1 in percent, in accuracy mode.
        exact_match: The exact match in percent, in accuracy mode.
    """

    is_valid: bool
    figures: Mapping[str, str]
    remarks: Sequence[str]
    errors: Mapping[str, int]
    version: int | None
    f1: float | None = None
    exact_match: float | None = None


def unofficial(dataset: SquadDataset, plan: MlperfPlan, model: str, version: int | None) -> str:
    """Return what makes a run no official result of MLPerf.

    Args:
        dataset: The questions.
        plan: The run.
        model: The name of the model.
        version: The version that is to answer; None is the server's default.
    """
    asked = model if version is None else f"{model} version {version}"
    return (
        f"Not an official MLPerf result: the model, {asked}, is not MLCommons' BERT-large, "
        f"{dataset.name} has {len(dataset)} questions where SQuAD 1.1 has {OFFICIAL_QUESTIONS:,}, "
        f"and it lasts {plan.seconds:g} s where {OFFICIAL_SECONDS} s are asked for."
    )


def run_mlperf(
    arguments: Mapping[str, Any], dataset: SquadDataset, plan: MlperfPlan, version: int | None
) -> MlperfResult:
    """Have LoadGen ask a served model.

    Args:
        arguments: What `AsyncQAClient` takes for the connection.
        dataset: The questions.
        plan: The run.
        version: The version that answers; None is the server's default.

    Returns:
        What LoadGen says.

    Raises:
        BertQAError: A first question is not answered.
        ModuleNotFoundError: The extra `mlperf` is not installed.
    """
    import mlperf_loadgen as loadgen

    with _Asked(arguments, dataset, version) as asked:
        plan.logs.mkdir(parents=True, exist_ok=True)
        if not plan.is_accuracy:
            asked.warm_up(_WARM_UP[plan.scenario], min(_WARM_UP_SECONDS, plan.seconds))
        logging = loadgen.LogSettings()
        logging.log_output.outdir = str(plan.logs)
        sut = loadgen.ConstructSUT(asked.issue, lambda: None)
        count = len(dataset)
        library = loadgen.ConstructQSL(count, count, lambda _: None, lambda _: None)
        settings = _settings(loadgen, plan)
        start = partial(loadgen.StartTestWithLogSettings, sut, library, settings, logging)
        # In a thread, as it holds signals up: Ctrl-C ends the run. LoadGen cannot be stopped and
        # goes on then, so that only a run that has ended lets go of what it uses.
        SyncCall.run(start, lambda: None, _LOOK_SECONDS)
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)
    summary = (plan.logs / _SUMMARY).read_text(encoding="utf-8")
    figures = _figures(summary)
    is_valid = plan.is_accuracy or figures.get("Result is") == "VALID"
    scores = None
    if plan.is_accuracy:
        texts = {each.id: asked.texts.get(at, "") for at, each in enumerate(dataset)}
        scores = score(texts, dataset)
    return MlperfResult(
        is_valid and not asked.errors,
        figures,
        _remarks(summary),
        dict(asked.errors),
        asked.answered_by,
        None if scores is None else scores.f1,
        None if scores is None else scores.exact_match,
    )


def _settings(loadgen: Any, plan: MlperfPlan) -> Any:
    found = loadgen.TestSettings()
    found.scenario = getattr(loadgen.TestScenario, plan.scenario)
    modes = loadgen.TestMode
    found.mode = modes.AccuracyOnly if plan.is_accuracy else modes.PerformanceOnly
    found.min_duration_ms = round(1000 * plan.seconds)
    found.min_query_count = 1
    found.server_target_qps = plan.rate
    found.server_target_latency_ns = round(SERVER_LATENCY_SECONDS * _NANOSECONDS)
    found.server_target_latency_percentile = _PERCENT / 100
    found.offline_expected_qps = plan.rate
    return found


def _figures(text: str) -> dict[str, str]:
    """Return LoadGen's summary as it names things; what it requires comes after what it found."""
    lines = (line.partition(":") for line in text.splitlines())
    found = [(name.strip(), value.strip()) for name, colon, value in lines if colon]
    return dict(reversed(found))


def _remarks(text: str) -> list[str]:
    """Return the items of its lists, each in one line."""
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith(" * "):
            items.append(line[3:].strip())
        elif items and line.startswith(" ") and ":" not in line:
            items[-1] = f"{items[-1]} {line.strip()}"
    return items


class _Asked:
    """The system under test: a client in a loop of its own."""

    def __init__(
        self, arguments: Mapping[str, Any], dataset: SquadDataset, version: int | None
    ) -> None:
        self.texts: dict[int, str] = {}
        self.answered_by: int | None = None
        self.errors: Counter[str] = Counter()
        self._pairs = [(each.question, each.context) for each in dataset]
        self._version = version
        self._is_over = False
        self._issuing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._arguments = arguments

    def __enter__(self) -> _Asked:
        self._thread.start()
        try:
            self._run(self._open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._issuing:
            self._is_over = True
        try:
            self._run(self._client.close())
        finally:
            self._end()

    def issue(self, samples: list[Any]) -> None:
        """Ask what LoadGen wants asked now, and return; once the run was left, never return.

        An error here, or a thread of LoadGen that Python ends, would abort the process.
        """
        wanted = [(each.id, each.index) for each in samples]
        with self._issuing:
            is_over = self._is_over
            if not is_over:
                asyncio.run_coroutine_threadsafe(self._answer(wanted), self._loop)
        if is_over:
            threading.Event().wait()

    def warm_up(self, shape: Shape, seconds: float) -> None:
        """Ask before LoadGen does, as a load test's stages do.

        Args:
            shape: How questions come.
            seconds: For how long.
        """
        part = Part(shape, time.monotonic(), 0.0, seconds, seed=0, first=0, step=1)
        self._run(PartUnderWay(self._ask, self._pairs, part).run())

    async def _open(self) -> None:
        self._client = AsyncQAClient(**self._arguments)
        try:
            self.answered_by = await self._ask(self._pairs[0])
        except BaseException:
            await self._client.close()
            raise

    async def _ask(self, pair: Pair) -> int | None:
        return (await self._client.answer(*pair, version=self._version)).model_version

    async def _answer(self, wanted: list[tuple[int, int]]) -> None:
        left = iter(wanted)
        try:
            async for answer in self._answers([self._pairs[index] for _, index in wanted]):
                identity, index = next(left)
                if isinstance(answer, BertQAError):
                    self.errors[type(answer).__name__] += 1
                    _complete(identity, "")
                else:
                    self.texts[index] = answer.text
                    _complete(identity, answer.text)
        except Exception as error:
            for identity, _ in left:  # LoadGen waits for each.
                self.errors[type(error).__name__] += 1
                _complete(identity, "")

    async def _answers(self, pairs: list[Pair]) -> AsyncIterator[Answer | BertQAError]:
        if len(pairs) == 1:
            # As those of users: questions that wait at the same time share a request.
            yield await self._client.answer(*pairs[0], version=self._version)
            return
        many = self._client.answer_many(pairs, return_errors=True, version=self._version)
        async for answer in many:
            yield answer

    def _run(self, work: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _complete(identity: int, text: str) -> None:
    """Send LoadGen an answer, which it copies."""
    import mlperf_loadgen as loadgen

    content = array("B", text.encode(errors="replace") or b" ")
    address, length = content.buffer_info()
    loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(identity, address, length)])
