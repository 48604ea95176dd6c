"""What both clients have in common: everything but the waiting."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar, Unpack

import httpx

from bertqa import _defaults
from bertqa._checks import plain
from bertqa.artifact import MODEL_NAME
from bertqa.client._batcher import Batcher, Outcome
from bertqa.client._lifetime import Lifetime
from bertqa.client._model_registry import ModelRegistry
from bertqa.client._options import (
    AUTO,
    AskOptions,
    ClientOptions,
    Settings,
    check_arguments,
    check_options,
    check_top_k,
    merge_options,
)
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._recorder import Recorder
from bertqa.client._refusals import Refusals
from bertqa.client._router import WeightedRouter
from bertqa.client._scheduler import Scheduler
from bertqa.client._split_poller import SplitPoller
from bertqa.client._tracing import Scope, ServerAttributes, check_headers, server_attributes
from bertqa.errors import (
    BertQAError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    TextTooLongError,
)
from bertqa.qa import Answer, QATokenizer
from bertqa.transport import (
    NO_HEADERS,
    TLS,
    AsyncTransport,
    ChannelOptions,
    Security,
    Token,
    Transport,
    TransportOptions,
    describing_url,
)

TransportT = TypeVar("TransportT", Transport, AsyncTransport)
OnShadow = Callable[[Answer, Answer | BertQAError], None]

logger = logging.getLogger(__name__)


class BaseClient(Generic[TransportT]):
    """A connection to one model of one server."""

    _transport: TransportT

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
        timeout: float | None = _defaults.TIMEOUT_SECONDS,
        tls: TLS | None = None,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.Client | httpx.AsyncClient | None = None,
        channel_options: ChannelOptions | None = None,
        retry_overload: bool = True,
        token_budget: int = _defaults.TOKEN_BUDGET,
    ) -> None:
        """Prepare to answer questions; the client connects at the first one.

        Args:
            url: The address of a server: `host:port` or `grpc://` (KServe gRPC), `grpcs://` (with
                TLS), `dns:///name:port` (gRPC, round robin over all addresses), `http://` and
                `https://` (KServe REST), `tfs://` and `tfss://` (the TensorFlow Serving API of OVMS
                up to 2026.2).
            transport: Anything else that runs the model, in place of `url`.
            model: The name of the model on the server.
            version: The version that answers where a question names none; None is the server's
                default.
            traffic: The split of questions between versions, in place of `version`: weights, "auto"
                for the split that `bert-qa switch` sets on the server, or a file that holds a split
                (`1=90,2=10`).
            fall_back: Whether the server's default version answers where the chosen one is gone.
                This is always so where a split that is followed chose it, which may just have
                changed.
            shadow: A version that gets a copy of each question.
            on_shadow: Called with both best answers, or with an error in place of the shadow's.
            recorder: Writes answers, and those of the shadow, to a file; the client does not
                close it.
            tokenizer: A file, a directory, a Hugging Face hub id or a `QATokenizer`, in place of
                the one that the model brings.
            metadata_url: The REST address where a gRPC client reads the model's tokenizer and
                lengths; by default the same host at the port less 1000. It is not used where
                `tokenizer` is given.
            timeout: Seconds that an answer may take, or, in a stream, a request; None sets no
                limit.
            tls: TLS files, and the name in the server's certificate where the address has another;
                for an address that is encrypted.
            token: A bearer token, or a function that returns the one of now, which is called for
                each request; that of an `AsyncQAClient` may return an awaitable.
            headers: Headers to send with each call, as metadata over gRPC. `Host` is the name by
                which the server is called, `:authority` over gRPC.
            http_client: An `httpx.Client`, for an `AsyncQAClient` an `httpx.AsyncClient`, that
                makes the calls over REST, with its own proxies, TLS and limits; it stays open.
            channel_options: Options of the gRPC channel, such as
                `{"grpc.max_send_message_length": 1000000}`; they count above the client's own.
            retry_overload: Whether what the server refuses for lack of room is sent again until the
                timeout; otherwise the first refusal is raised.
            token_budget: Tokens, padding included, that go into one request at most, unless it is
                one window.

        Raises:
            InvalidOptionError: An argument is not valid, or does not fit another.
            TokenizerError: The tokenizer cannot be read.
        """
        given = ClientOptions(
            url=url,
            transport=transport,
            model=model,
            version=version,
            traffic=traffic,
            fall_back=fall_back,
            shadow=shadow,
            on_shadow=on_shadow,
            recorder=recorder,
            tokenizer=tokenizer,
            metadata_url=metadata_url,
            timeout=timeout,
            retry_overload=retry_overload,
            token_budget=token_budget,
        )
        security = Security.of(tls, token, headers)
        self._url, self._model, self._version = given.url, given.model, given.version
        self._settings = Settings.of({}, given.timeout)
        self._options: Mapping[str, Any] = {}
        self._top_k = _defaults.TOP_K
        self._headers = NO_HEADERS
        self._split_poller: SplitPoller | None = None
        self._split_file: Path | None = None
        self._traffic: WeightedRouter | SplitPoller | None = None
        if isinstance(given.traffic, WeightedRouter):
            self._traffic = given.traffic
        elif given.traffic is not None:
            self._traffic = self._split_poller = SplitPoller()
            self._split_file = None if given.traffic == AUTO else given.traffic
        self._retry_overload = given.retry_overload
        self._token_budget = given.token_budget
        self._fall_back = given.fall_back
        self._shadow_version = given.shadow
        self._on_shadow = given.on_shadow
        self._recorder = given.recorder
        self._registry = ModelRegistry(given.tokenizer)
        self._life = Lifetime()
        if given.transport is not None:
            of_url = (given.metadata_url, http_client, channel_options)
            if security != Security() or any(each is not None for each in of_url):
                raise InvalidOptionError(
                    "tls=, token=, headers=, metadata_url=, http_client= and channel_options= "
                    "belong to url=: transport= connects by itself."
                )
            self._transport = given.transport
        options: TransportOptions = {
            "model": given.model,
            "metadata_url": given.metadata_url,
            "learns": given.tokenizer is None,
            "security": security,
            "http_client": http_client,
            "channel_options": channel_options,
        }
        described_at = None if given.url is None else describing_url(given.url, options)
        self._server = ServerAttributes(
            infer=server_attributes(given.url, given.model),
            metadata=server_attributes(described_at, given.model),
        )
        self._connect(given.url, options, follows=given.traffic == AUTO)

    @classmethod
    def local(
        cls,
        path: str | Path,
        *,
        version: int | None = None,
        recorder: Recorder | None = None,
        tokenizer: str | Path | QATokenizer | None = None,
        timeout: float | None = _defaults.LOCAL_TIMEOUT_SECONDS,
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
            timeout: Seconds for an answer; None sets no limit. A request that runs is not stopped.

        Returns:
            A client, to be closed as any other. It keeps the model in memory.

        Raises:
            ModelLoadError: There is no model at `path`, its engine is not installed, or the engine
                cannot load it.
            NotAQAModelError: The model has no `model_info`.
            VersionNotFoundError: `path` is, or holds, other versions only.
        """
        # Whatever can be wrong is found before a model is in memory.
        given = check_arguments(
            {
                "path": path,
                "version": version,
                "recorder": recorder,
                "timeout": timeout,
                "tokenizer": tokenizer,
            }
        )
        transport = cls._open_local(given.pop("path"), given.pop("version"))
        return cls(transport=transport, **given)

    @classmethod
    def _open_local(cls, path: Path, version: int | None) -> TransportT:
        """Load a model as a transport of the client's kind."""
        raise NotImplementedError

    def __repr__(self) -> str:
        where = repr(self._transport) if self._url is None else repr(self._url)
        return f"{type(self).__name__}({where}, model={self._model!r})"

    def _connect(self, url: str | None, options: TransportOptions, *, follows: bool) -> None:
        """Open the transports to a URL, if there is one, and the driver."""
        raise NotImplementedError

    @property
    def is_closed(self) -> bool:
        """Whether the client, or one that shares its connections, was closed."""
        return self._life.is_closed

    def with_options(
        self,
        *,
        top_k: int | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[AskOptions],
    ) -> Self:
        """Return a client with other defaults that shares the connections of this one.

        It shares what is known of the model, the limit of requests in flight, the recorder, and its
        end: closing one of them closes all.

        Args:
            top_k: How many answers `answers` returns where a call does not say it.
            headers: More headers to send with each of its calls; one of the same name takes the
                place of the client's own.
            **options: See `AskOptions`: what a call of the new client uses where it does not say
                otherwise.

        Returns:
            The client.

        Raises:
            ClientStateError: This client is closed, or of another process.
            InvalidOptionError: An option is not valid, or does not fit another.
        """
        self._life.check()
        merged = merge_options(self._options, check_options(options))
        made = copy.copy(self)
        made._options = merged
        made._settings = Settings.of(merged, self._settings.timeout)
        if top_k is not None:
            made._top_k = check_top_k("top_k", top_k)
        if headers is not None:
            made._headers = {**self._headers, **check_headers(headers)}
        return made

    def _settings_of(self, options: Mapping[str, Any]) -> Settings:
        self._life.check()
        if not options:
            return self._settings
        return Settings.of(merge_options(self._options, options), self._settings.timeout)

    def _identity_of(self, options: Mapping[str, Any]) -> str:
        """Return a text that differs where a question would have another answer.

        The address is left out: a server that has moved is the same one.
        """
        settings = self._settings_of(options)
        own = {each.name: getattr(settings, each.name) for each in fields(settings)}
        version = self._version if settings.version is None else settings.version
        tokenizer = self._registry.tokenizer
        own |= {"model": self._model, "version": version}
        own |= {"tokenizer": None if tokenizer is None else tokenizer.digest}
        del own["timeout"], own["key"]
        return repr([(name, _fields(value)) for name, value in own.items()])

    def _scope(self, name: str, above: Scope | None = None) -> Scope:
        """Return the span of a question or of a stream; see `Scope`."""
        return Scope(name, self._headers, self._server, above)

    def _scheduler(
        self,
        timeout: float,
        deadline: float | None = None,
        look_ahead: int = _defaults.LOOK_AHEAD,
    ) -> Scheduler:
        """Return a scheduler for one stream; see `Refusals` and `Batcher`."""
        refusals = Refusals(timeout, deadline, retry=self._retry_overload)
        return Scheduler(Batcher(look_ahead, self._token_budget), refusals)

    def _flow_of(
        self,
        question: str,
        context: str,
        top_k: int,
        settings: Settings,
        deadline: float | None,
    ) -> tuple[Question, AnswerFlow]:
        """Return a question with its flow, after choosing the version."""
        if isinstance(question, str) and isinstance(context, str):
            question, context = plain(question), plain(context)
        version, fall_back = settings.version, self._fall_back
        if version is None and self._traffic is not None:
            version = self._traffic.pick(settings.key)
            fall_back = fall_back or self._split_poller is not None
        if version is None:
            version = self._version
        started = Question(question, context, top_k, settings, deadline)
        return started, started.flow(self._registry, version, fall_back=fall_back)

    def _shadow_of(self, question: Question) -> tuple[Question, AnswerFlow] | None:
        """Return a copy of a question with its flow for the shadow version, if there is one."""
        if self._shadow_version is None:
            return None
        copy = replace(question, top_k=1, deadline=None)
        return copy, copy.flow(self._registry, self._shadow_version, fall_back=False)

    def _record(self, question: Question, answer: Answer, seconds: float | None) -> None:
        """Record an answer that has no shadow."""
        if self._recorder is not None:
            self._recorder.record(question.question, question.context, answer, seconds)

    def _report_shadow(
        self,
        question: Question,
        answer: Answer,
        seconds: float | None,
        outcome: Outcome,
        shadow_seconds: float,
    ) -> None:
        """Pass both answers to the recorder and to the callback, whose errors are only logged."""
        shadow = outcome if isinstance(outcome, BertQAError) else outcome[0]
        if self._recorder is not None:
            self._recorder.record(
                question.question, question.context, answer, seconds, shadow, shadow_seconds
            )
        if self._on_shadow is None:
            return
        try:
            self._on_shadow(answer, shadow)
        except Exception:
            logger.exception("on_shadow failed")


def _fields(value: object) -> str:
    """Return a value's class and settings; the address that `object` shows says nothing."""
    shows = type(value).__repr__ is not object.__repr__
    return f"{type(value).__qualname__} {value!r}" if shows else type(value).__qualname__


def raise_unless_own(error: BertQAError) -> BertQAError:
    """Return an error that is of its pair alone; raise one that other pairs would meet too."""
    if isinstance(error, InvalidQuestionError | InvalidContextError | TextTooLongError):
        return error
    raise error
