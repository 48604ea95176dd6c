"""A system under test for MLCommons' LoadGen: questions to a served model, judged by its rules.

The scenarios and the 130 ms of the 99th percentile in Server are those of BERT in MLPerf Inference
(data centre). Data, model and durations are the user's, so that no run is an official result.
"""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from bertqa import AsyncQAClient
from bertqa.errors import BertQAError
from bertqa.evaluation import SquadDataset
from bertqa.evaluation._metrics import score
from bertqa.transport._background import SyncCall

SERVER_LATENCY_SECONDS = 0.13
OFFICIAL_SECONDS, OFFICIAL_QUESTIONS = 600, 10_833
_SUMMARY = "mlperf_log_summary.txt"
_LOOK_SECONDS = 1.0
_NANOSECONDS = 1_000_000_000


class Scenario(StrEnum):
    """How LoadGen asks.

    SingleStream: one question, then the next. Offline: all at once. Server: at the times of a
    Poisson process.
    """

    SINGLE_STREAM = "SingleStream"
    OFFLINE = "Offline"
    SERVER = "Server"


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


@dataclass(frozen=True, slots=True)
class MlperfResult:
    """What LoadGen says.

    Attributes:
        is_valid: Its verdict, and that each question was answered; without one, in accuracy mode,
            the latter alone.
        figures: Its summary by its own names.
        remarks: What it recommends, and what early stopping would take, in its words.
        errors: How many questions were not answered, by the kind of error.
        f1: The F1 in percent, in accuracy mode.
        exact_match: The exact match in percent, in accuracy mode.
    """

    is_valid: bool
    figures: Mapping[str, str]
    remarks: Sequence[str]
    errors: Mapping[str, int]
    f1: float | None = None
    exact_match: float | None = None


def unofficial(dataset: SquadDataset, plan: MlperfPlan) -> str:
    """Return what makes a run no official result of MLPerf.

    Args:
        dataset: The questions.
        plan: The run.
    """
    return (
        "Not an official MLPerf result: the model is not MLCommons' BERT-large, "
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
    found.server_target_latency_percentile = 0.99
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
            self._client = self._run(self._open())
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

    async def _open(self) -> AsyncQAClient:
        client = AsyncQAClient(**self._arguments)
        try:
            await client.answer(*self._pairs[0], version=self._version)
        except BaseException:
            await client.close()
            raise
        return client

    async def _answer(self, wanted: list[tuple[int, int]]) -> None:
        pairs = [self._pairs[index] for _, index in wanted]
        left = iter(wanted)
        try:
            answers = self._client.answer_many(pairs, return_errors=True, version=self._version)
            async for answer in answers:
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

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

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
