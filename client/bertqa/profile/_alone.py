"""One question alone on an idle server, against OpenVINO in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bertqa import _defaults
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.client import QAClient
from bertqa.evaluation import Samples, take_turns, time_call
from bertqa.profile._operations import compiled_as_served
from bertqa.profile._requests import Pairs
from bertqa.transport import InferResult, Inputs, ModelMetadata, Transport

WORDS = 300
_TURNS = 200
_WARM_UP_TURNS = 10
_PARTS = 5
_STEADY = 0.2


@dataclass(frozen=True, slots=True)
class Alone:
    """How long one question takes, and how long the model alone, in turns.

    Attributes:
        words: The words of its text.
        windows: The windows that these are.
        served: The seconds from question to answer, by a client and a server.
        in_process: The seconds that OpenVINO takes in this process for the same windows, with the
            server's properties.
    """

    words: int
    windows: int
    served: Samples
    in_process: Samples

    def overhead_ms(self, share: float) -> float:
        """Return how much longer the served way takes, in milliseconds.

        Args:
            share: Which quantile, from 0 to 1.
        """
        return 1000 * (self.served.quantile(share) - self.in_process.quantile(share))

    @property
    def overhead_range_ms(self) -> tuple[float, float]:
        """The least and the most by which the medians differ in fifths of the turns."""
        served, alone = _medians(self.served), _medians(self.in_process)
        found = [1000 * (one - other) for one, other in zip(served, alone, strict=True)]
        return min(found), max(found)

    @property
    def was_busy(self) -> bool:
        """Whether the machine did something else meanwhile: the model's own median varies."""
        return Samples(_medians(self.in_process)).spread > _STEADY


def _medians(samples: Samples) -> tuple[float, ...]:
    """Return the median of each fifth of the measurements, in the order of their turns."""
    values = samples.values
    size = -(-len(values) // _PARTS)
    parts = (values[begin : begin + size] for begin in range(0, len(values), size))
    return tuple(Samples(each).median for each in parts)


def text_of(pairs: Pairs, words: int = WORDS) -> tuple[str, str]:
    """Return a question with a text of so many words: its context, and those that follow.

    Args:
        pairs: Questions with their contexts, at least one.
        words: The words; fewer where the contexts have no more.
    """
    contexts = dict.fromkeys(context for _, context in pairs)
    every = " ".join(contexts).split()
    return pairs[0][0], " ".join(every[:words])


def time_alone(
    transport: Transport,
    pair: tuple[str, str],
    model: Path,
    properties: Mapping[str, Any],
    *,
    version: int | None,
    timeout: float = _defaults.TIMEOUT_SECONDS,
    turns: int = _TURNS,
    on_progress: OnProgress = ignore,
) -> Alone:
    """Ask one question again and again, in turns with running its windows in this process.

    Args:
        transport: The way to the server, which is idle otherwise.
        pair: The question with its text.
        model: The file of the same model.
        properties: OpenVINO's properties that the server has.
        version: The version to ask; None asks the default.
        timeout: Seconds for an answer.
        turns: How often each is timed.
        on_progress: Called with each turn.

    Returns:
        The times of both.

    Raises:
        BertQAError: The question is not answered.
        ModelLoadError: OpenVINO cannot read or compile the model.
    """
    recorder = _Recorder(transport)
    client = QAClient(transport=recorder, version=version, timeout=timeout)
    client.answer(*pair)
    recorder.batches.clear()
    client.answer(*pair)
    batches = list(recorder.batches)
    compiled = compiled_as_served(model, properties)
    requests = [compiled.create_infer_request() for _ in batches]

    def run() -> None:
        for request, batch in zip(requests, batches, strict=True):
            request.start_async(dict(batch), share_inputs=True)
        for request in requests:
            request.wait()

    calls: dict[str, Callable[[], object]] = {"served": partial(client.answer, *pair), "alone": run}
    for call in calls.values():
        for _ in range(_WARM_UP_TURNS):
            call()
    found = take_turns(
        {name: partial(time_call, call) for name, call in calls.items()},
        turns,
        alternate=True,
        on_turn=lambda turn: on_progress(Progress("Timing one alone", turn, turns, "turns")),
    )
    served, alone = (Samples(tuple(found[name])) for name in calls)
    windows = sum(len(next(iter(batch.values()))) for batch in batches)
    return Alone(len(pair[1].split()), windows, served, alone)


class _Recorder:
    """Keeps the batches that go through a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.batches: list[Inputs] = []

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        self.batches.append(inputs)
        return self._transport.infer(inputs, version=version, timeout=timeout)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        return self._transport.metadata(version=version, timeout=timeout)

    def close(self) -> None:
        pass
