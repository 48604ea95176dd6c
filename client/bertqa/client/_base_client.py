"""What both clients have in common: everything but the waiting."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar

from bertqa import _defaults
from bertqa.artifact import MODEL_NAME
from bertqa.client._answer_flow import AnswerFlow, Question
from bertqa.client._batcher import Outcome
from bertqa.client._model_registry import ModelRegistry
from bertqa.client._options import Settings
from bertqa.client._recorder import Recorder
from bertqa.client._router import WeightedRouter
from bertqa.client._split_poller import SplitPoller, read_split_file
from bertqa.errors import (
    BertQAError,
    ClientStateError,
    DeadlineExceededError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
)
from bertqa.qa import Answer, QATokenizer
from bertqa.transport import TLS, AsyncTransport, Security, Transport, TransportOptions

TransportT = TypeVar("TransportT", Transport, AsyncTransport)
OnShadow = Callable[[Answer, Answer | BertQAError], None]

logger = logging.getLogger(__name__)


class BaseClient(Generic[TransportT]):
    """Opens the way to one model of one server.

    `url` is where the server is: `host:port` or `grpc://` (KServe gRPC), `grpcs://` (with TLS),
    `dns:///name:port` (gRPC, round robin over all addresses), `http://` and `https://` (KServe
    REST), `tfs://` (the TensorFlow Serving API of OVMS up to 2026.2). `transport` is anything else
    that runs the model; exactly one of the two is given.

    `version` is asked where a question names none; None is the server's default. `traffic` splits
    questions between versions by weight instead: weights of your own, or "auto" to follow the split
    that `bert-qa switch` sets on the server, or a file that holds one (`1=90,2=10`). `fall_back`
    lets the default version answer where the one chosen is gone, as it does with a split that is
    poller, which may just have changed. `shadow` is a version that gets a copy of each question;
    `on_shadow` is called with both best answers, or with the error in window of the second.
    `recorder` writes answers, and those of the shadow, to a file; whoever opened it closes it.

    `tokenizer` (a file, a directory, a Hugging Face hub id, or a `QATokenizer`) takes the window of
    the one that the model brings. Where it is not given, a gRPC client learns the model once over
    REST, at `metadata_url`; by default that is the same host at the port less 1000.

    `timeout` is in seconds. `tls`, `token` (sent as a bearer token) and `headers` (sent as metadata
    over gRPC) are for servers that ask for them.

    Raises InvalidOptionError and TokenizerError. The server is first met at the first question.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: TransportT | None = None,
        model: str = MODEL_NAME,
        version: int | None = None,
        traffic: Mapping[int, float] | Literal["auto"] | Path | None = None,
        fall_back: bool = False,
        shadow: int | None = None,
        on_shadow: OnShadow | None = None,
        recorder: Recorder | None = None,
        tokenizer: str | Path | QATokenizer | None = None,
        metadata_url: str | None = None,
        timeout: float = _defaults.TIMEOUT_SECONDS,
        tls: TLS | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if (url is None) == (transport is None):
            raise InvalidOptionError(
                "Give the address of a server, for example QAClient('localhost:9000'), "
                "or transport=, and not both."
            )
        if version is not None and traffic is not None:
            raise InvalidOptionError("version= and traffic= cannot both be given.")
        if (shadow is None and on_shadow is not None) or (
            shadow is not None and on_shadow is None and recorder is None
        ):
            raise InvalidOptionError(
                "shadow= and on_shadow= have to be given together, or shadow= and recorder=."
            )
        if isinstance(tokenizer, str | Path):
            tokenizer = QATokenizer.load(tokenizer)
        self._settings = Settings.of({"version": version}, timeout)
        if traffic == "auto" and url is None:
            raise InvalidOptionError('traffic="auto" needs url=: the split is read from there.')
        self._split_poller: SplitPoller | None = None
        self._split_file: Path | None = None
        self._split_transport: TransportT | None = None
        self._traffic: WeightedRouter | SplitPoller | None = None
        if isinstance(traffic, Mapping):
            self._traffic = WeightedRouter(traffic)
        elif traffic is not None:
            self._traffic = self._split_poller = SplitPoller()
            self._split_file = _split_file(traffic)
        self._fall_back = fall_back or self._split_poller is not None
        self._shadow_version = shadow
        self._on_shadow = on_shadow
        self._recorder = recorder
        self._registry = ModelRegistry(tokenizer)
        self._process = os.getpid()
        # No more questions are taken; those on their way end where the connection is given back.
        self._closed = self._disconnected = False
        if transport is None:
            assert url is not None
            options: TransportOptions = {
                "model": model,
                "metadata_url": metadata_url,
                "learns": tokenizer is None,
                "security": Security.of(tls, token, headers),
            }
            transport = self._open(url, options)
            if traffic == "auto":
                self._split_transport = self._open_split(url, options)
        self._transport: TransportT = transport
        self._start()

    @classmethod
    def local(
        cls,
        path: str | Path,
        *,
        version: int | None = None,
        recorder: Recorder | None = None,
        tokenizer: str | Path | QATokenizer | None = None,
        timeout: float = _defaults.LOCAL_TIMEOUT_SECONDS,
    ) -> Self:
        """Return a client of a model that runs in this process, without a server.

        OpenVINO, which the extra `evaluate` installs, runs an IR; ONNX Runtime, which the extra
        `onnx` installs, runs an ONNX model.

        Args:
            path: A version's directory, such as `model_repository/bert-qa/2`, a model's directory,
                such as `model_repository/bert-qa`, or a model's file.
            version: The version to load; None loads the highest of a model's directory.
            recorder: Writes the answers to a file; its opener closes it.
            tokenizer: A file, a directory, a Hugging Face hub id or a `QATokenizer`, in place of
                the model's own.
            timeout: Seconds for an answer. A request that runs is not stopped.

        Returns:
            A client, to be closed as any other. It keeps the model in memory.

        Raises:
            ModelLoadError: There is no model at `path`, its engine is not installed, or the engine
                cannot load it.
            NotAQAModelError: The model has no `model_info`.
            VersionNotFoundError: `path` is, or holds, other versions only.
        """
        transport = cls._open_local(Path(path), version)
        return cls(transport=transport, recorder=recorder, tokenizer=tokenizer, timeout=timeout)

    @classmethod
    def _open_local(cls, path: Path, version: int | None) -> TransportT:
        """Load a model as a transport of the client's kind."""
        raise NotImplementedError

    def _open(self, url: str, options: TransportOptions) -> TransportT:
        """Open a transport of the client's kind."""
        raise NotImplementedError

    def _open_split(self, url: str, options: TransportOptions) -> TransportT:
        """Open a transport of the client's kind to the model that tells the split."""
        raise NotImplementedError

    def _start(self) -> None:
        """Get ready what the client's kind needs."""
        raise NotImplementedError

    def _settings_of(self, options: Mapping[str, Any]) -> Settings:
        self._check_usable()
        return Settings.of(options, self._settings.timeout)

    def _begin(
        self, question: str, context: str, top_k: int, settings: Settings
    ) -> tuple[Question, AnswerFlow]:
        """Choose the version for a question, and set out."""
        version = settings.version
        if version is None and self._traffic is not None:
            version = self._traffic.pick(settings.key)
        if version is None:
            version = self._settings.version
        asked = Question(question, context, top_k, settings)
        return asked, asked.flow(self._registry, version, fall_back=self._fall_back)

    def _shadow_of(self, question: Question) -> tuple[Question, AnswerFlow] | None:
        """Set out to answer a copy of a question with the shadow version, if there is one."""
        if self._shadow_version is None:
            return None
        asked = replace(question, top_k=1)
        return asked, asked.flow(self._registry, self._shadow_version, fall_back=False)

    def _record(self, asked: Question, answer: Answer, seconds: float | None) -> None:
        """Write an answer down that has no shadow."""
        if self._recorder is not None:
            self._recorder.record(asked.question, asked.context, answer, seconds)

    def _report_shadow(
        self,
        asked: Question,
        answer: Answer,
        seconds: float | None,
        outcome: Outcome,
        shadow_seconds: float,
    ) -> None:
        """Hand both answers to the user's callback, whose errors are its own affair."""
        shadow = outcome if isinstance(outcome, BertQAError) else outcome[0]
        if self._recorder is not None:
            self._recorder.record(
                asked.question, asked.context, answer, seconds, shadow, shadow_seconds
            )
        if self._on_shadow is None:
            return
        try:
            self._on_shadow(answer, shadow)
        except Exception:
            logger.exception("on_shadow failed")

    @property
    def _is_in_its_process(self) -> bool:
        return os.getpid() == self._process

    def _check_connected(self) -> None:
        if self._disconnected:
            raise ClientStateError("This client is closed.")

    def _check_usable(self) -> None:
        if self._closed:
            raise ClientStateError("This client is closed.")
        if not self._is_in_its_process:
            raise ClientStateError(
                f"This client was opened in process {self._process}, and this is process "
                f"{os.getpid()}: connections do not survive a fork. Open one in each process."
            )


def _split_file(traffic: object) -> Path | None:
    """Return the file to follow, or None for the server. Raises InvalidOptionError."""
    if traffic == "auto":
        return None
    if not isinstance(traffic, Path):
        raise InvalidOptionError(
            f'traffic is {traffic!r}, but it has to be weights ({{1: 90, 2: 10}}), "auto", '
            "or the Path of a file that holds a split."
        )
    read_split_file(traffic)
    return traffic


def time_left(deadline: float, timeout: float) -> float:
    """Return the seconds before a deadline of `time.monotonic`. Raises DeadlineExceededError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late(timeout)
    return left


def too_late(timeout: float) -> DeadlineExceededError:
    """Return the error for what could not even be sent in time."""
    return DeadlineExceededError(
        f"There was no answer within {timeout:g} s: too much is asked at once, or the server is "
        "busy. Pass a greater timeout= to wait."
    )


def best_or_error(outcome: Outcome) -> Answer | BertQAError:
    """Return the best answer, or the error where it says nothing about the pairs that follow.

    Raises the error where it does.
    """
    if isinstance(outcome, InvalidQuestionError | InvalidContextError):
        return outcome
    if isinstance(outcome, BertQAError):
        raise outcome
    return outcome[0]


def or_raise(outcome: Answer | BertQAError) -> Answer:
    """Return an answer. Raises what is none."""
    if isinstance(outcome, BertQAError):
        raise outcome
    return outcome


def both(pair: tuple[str, str]) -> tuple[str, str]:
    """Return the question and the context of a pair. Raises InvalidOptionError where it is none."""
    try:
        question, context = pair
    except (TypeError, ValueError) as error:
        raise InvalidOptionError(
            f"Each of the pairs has to be a question and a context, but one is {pair!r:.100}."
        ) from error
    return question, context
