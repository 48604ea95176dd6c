"""The options of a question and of a client, checked once, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from bertqa import _checks, _defaults
from bertqa._checks import Check, default, flag, optional, refused, seconds, whole
from bertqa.artifact import MODEL_NAME
from bertqa.client._router import WeightedRouter
from bertqa.client._split_poller import read_split_file
from bertqa.errors import InvalidOptionError
from bertqa.qa import Decoder, PipelineDecoder, QATokenizer

AUTO = "auto"

_PIPELINE_OPTIONS = ("max_answer_len", "align_to_words", "handle_impossible_answer")
_PIPELINE = PipelineDecoder()


class AskOptions(TypedDict, total=False):
    """The keywords that `answer`, `answers` and `answer_many` take.

    Those of the Hugging Face `question-answering` pipeline have its names. None is the default,
    except for `timeout`, where it sets no limit.

    Attributes:
        max_seq_len: The length of a window, in tokens; by default the model's own.
        doc_stride: The overlap of neighbouring windows, in tokens; by default the model's own.
        max_question_len: How many tokens of the question are kept.
        max_answer_len: How many tokens an answer has at most; tokens of one character count once.
        align_to_words: Whether to widen an answer to whole words.
        handle_impossible_answer: Whether "no answer" competes with the answers.
        decoder: The decoder, for example `SquadDecoder()`, in place of the pipeline's.
        version: The version that answers; None is the client's own choice.
        key: A key that always goes to the same version of those that share the traffic.
        timeout: Seconds that the answer may take, or, in a stream, each request.
    """

    max_seq_len: int | None
    doc_stride: int | None
    max_question_len: int | None
    max_answer_len: int | None
    align_to_words: bool | None
    handle_impossible_answer: bool | None
    decoder: Decoder | None
    version: int | None
    key: str | None
    timeout: float | None


def _key(name: str, value: Any) -> str:
    if isinstance(value, str):
        return _checks.plain(value)
    try:
        return str(whole(-_checks.MOST_VERSION, _checks.MOST_VERSION)(name, value))
    except InvalidOptionError:
        raise refused(name, value, "a str, a whole number, or None") from None


def _decoder(name: str, value: Any) -> Decoder:
    # Bytes have a method of that name, too.
    if isinstance(value, type | bytes | bytearray) or not callable(getattr(value, "decode", None)):
        raise refused(name, value, "a decoder, such as SquadDecoder()")
    decoder: Decoder = value
    return decoder


_ASK: Mapping[str, Check[Any]] = {
    "max_seq_len": optional(whole(1)),
    "doc_stride": optional(whole(0)),
    "max_question_len": default(whole(1), _defaults.MAX_QUESTION_LEN),
    "max_answer_len": default(whole(1), _PIPELINE.max_answer_len),
    "align_to_words": default(flag, _PIPELINE.align_to_words),
    "handle_impossible_answer": default(flag, _PIPELINE.handle_impossible_answer),
    "decoder": optional(_decoder),
    "version": optional(_checks.version),
    "key": optional(_key),
    "timeout": seconds,
}

# What some of the client's methods take beside `AskOptions`.
_ELSEWHERE: Mapping[str, str] = {
    "top_k": "answers(), answers_many() and with_options()",
    "headers": "with_options()",
    "return_errors": "answer_many() and answers_many()",
    "look_ahead": "answer_many() and answers_many()",
}

check_top_k: Check[int] = default(whole(1), _defaults.TOP_K)
check_look_ahead: Check[int] = default(whole(1), _defaults.LOOK_AHEAD)


@dataclass(frozen=True, slots=True)
class Settings:
    """`AskOptions`, checked, with defaults filled in."""

    decoder: Decoder
    max_seq_len: int | None = None
    doc_stride: int | None = None
    max_question_len: int = _defaults.MAX_QUESTION_LEN
    version: int | None = None
    key: str | None = None
    timeout: float = _defaults.TIMEOUT_SECONDS

    @classmethod
    def of(cls, options: Mapping[str, Any], timeout: float) -> Settings:
        """Check options.

        Args:
            options: Keywords of `AskOptions`.
            timeout: The timeout where they hold none, in seconds.

        Returns:
            The settings.

        Raises:
            InvalidOptionError: An option is not known, not valid, or does not fit another.
        """
        given = check_options(options)
        pipeline = {name: given.pop(name) for name in _PIPELINE_OPTIONS if name in given}
        decoder = given.pop("decoder", None)
        if decoder is None:
            decoder = PipelineDecoder(**pipeline) if pipeline else _PIPELINE
        return cls(**{"decoder": decoder, "timeout": timeout, **given})


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options of questions, each by itself and whether they fit each other.

    Args:
        options: Keywords of `AskOptions`.

    Returns:
        The same, in the types that are promised.

    Raises:
        InvalidOptionError: An option is not known, not valid, or does not fit another.
    """
    unknown = sorted(options.keys() - _ASK.keys())
    if unknown:
        raise InvalidOptionError(_unknown(unknown))
    given = {name: _ASK[name](name, value) for name, value in options.items()}
    pipeline = [name for name in _PIPELINE_OPTIONS if options.get(name) is not None]
    if pipeline and given.get("decoder") is not None:
        raise InvalidOptionError(
            f"{', '.join(pipeline)} cannot be passed beside decoder=: pass it to the decoder."
        )
    return given


def _unknown(names: Sequence[str]) -> str:
    """Return what to say of options that a method does not take."""
    for name in names:
        if name in _ELSEWHERE:
            return f"There is no option {name} here: use {_ELSEWHERE[name]}, which take it."
    elsewhere = ", ".join(f"{name} (of {where})" for name, where in _ELSEWHERE.items())
    known = f"{', '.join(_ASK)}, and {elsewhere}"
    return f"There is no option {', '.join(names)}. The options are {known}."


def merge_options(own: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a client's own options with those of a question in their place.

    Args:
        own: The client's.
        options: The question's. A decoder takes the place of the pipeline's keywords, and the
            other way round.
    """
    if not (own and options):
        return own or options
    kept = dict(own)
    if options.get("decoder") is not None:
        for name in _PIPELINE_OPTIONS:
            kept.pop(name, None)
    elif any(options.get(name) is not None for name in _PIPELINE_OPTIONS):
        kept.pop("decoder", None)
    return {**kept, **options}


def check_pair(pair: Any) -> tuple[str, str]:
    """Return the question and the context of a pair.

    Raises:
        InvalidOptionError: It is not a pair.
    """
    try:
        if isinstance(pair, str | bytes | Mapping | Set):
            raise TypeError  # It has no order, or its parts are characters.
        question, context = pair
    except (TypeError, ValueError) as error:
        raise InvalidOptionError(
            "Each of the pairs has to be a question and a context, but one is "
            f"{_checks.shown(pair)}."
        ) from error
    return question, context


def check_pairs(pairs: Any, iterables: tuple[type, ...]) -> None:
    """Check that there may be pairs in what was passed as such.

    Args:
        pairs: What was passed.
        iterables: The kinds of iterables that are read.

    Raises:
        InvalidOptionError: It cannot be read, or is one text.
    """
    is_scalar = (
        getattr(pairs, "ndim", 1) == 0
    )  # Arrays have the method of an iterable all the same.
    if is_scalar or not isinstance(pairs, iterables) or isinstance(pairs, str | bytes | Mapping):
        raise refused("pairs", pairs, "an iterable of pairs of a question and a context")


def _traffic(name: str, value: Any) -> WeightedRouter | Path | str:
    if isinstance(value, Mapping):
        return WeightedRouter(value)
    if isinstance(value, str) and value == AUTO:
        return AUTO
    if not hasattr(value, "__fspath__"):
        raise refused(
            name, value, f'weights ({{1: 90, 2: 10}}), "{AUTO}", or the Path of a file with a split'
        )
    path = _checks.path(name, value)
    read_split_file(path)
    return path


def _methods(*names: str) -> Check[Any]:
    def check(name: str, value: Any) -> Any:
        if isinstance(value, type) or not all(
            callable(getattr(value, each, None)) for each in names
        ):
            raise refused(name, value, f"an object with the method {', '.join(names)}")
        return value

    return check


def check_tokenizer(name: str, value: Any) -> QATokenizer | None:
    """Return the tokenizer that a user named.

    Args:
        name: The name of the option.
        value: A file, a directory, a hub id, a `QATokenizer`, or None.

    Returns:
        The tokenizer, None where none was named.

    Raises:
        InvalidOptionError: It is something else.
        TokenizerError: The tokenizer cannot be read.
    """
    if value is None or isinstance(value, QATokenizer):
        return value
    if isinstance(value, str):
        return QATokenizer.load(_checks.plain(value))
    try:
        return QATokenizer.load(_checks.path(name, value))
    except InvalidOptionError:
        raise refused(name, value, "a file, a directory, a hub id or a QATokenizer") from None


_CLIENT: Mapping[str, Check[Any]] = {
    "path": _checks.path,
    "url": optional(_checks.text),
    "transport": optional(_methods("infer", "metadata", "close")),
    "model": default(_checks.model_name, MODEL_NAME),
    "version": optional(_checks.version),
    "traffic": optional(_traffic),
    "fall_back": default(flag, False),
    "shadow": optional(_checks.version),
    "on_shadow": optional(_checks.function),
    "recorder": optional(_methods("record")),
    "metadata_url": optional(_checks.text),
    "timeout": seconds,
    "retry_overload": default(flag, True),
    "token_budget": default(whole(1), _defaults.TOKEN_BUDGET),
    "tokenizer": check_tokenizer,
}


def check_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check arguments of a client's constructors, each by itself.

    Args:
        given: The arguments by name.

    Returns:
        The same, in the types that are promised.

    Raises:
        InvalidOptionError: One is not valid.
        TokenizerError: The tokenizer cannot be read.
    """
    return {name: _CLIENT[name](name, value) for name, value in given.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The arguments of a client, checked, with defaults filled in; see `BaseClient`.

    Raises:
        InvalidOptionError: One is not valid, or does not fit another.
        TokenizerError: The tokenizer cannot be read.
    """

    url: str | None
    transport: Any
    model: str
    version: int | None
    traffic: Any
    fall_back: bool
    shadow: int | None
    on_shadow: Any
    recorder: Any
    metadata_url: str | None
    timeout: Any
    retry_overload: bool
    token_budget: int
    tokenizer: Any

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in check_arguments(given).items():
            object.__setattr__(self, name, value)
        if (self.url is None) == (self.transport is None):
            raise InvalidOptionError(
                "Pass the address of a server, for example QAClient('localhost:9000'), "
                "or transport=, and not both."
            )
        if self.version is not None and self.traffic is not None:
            raise InvalidOptionError("Pass version= or traffic=, and not both.")
        if (self.shadow is None and self.on_shadow is not None) or (
            self.shadow is not None and self.on_shadow is None and self.recorder is None
        ):
            raise InvalidOptionError("Pass shadow= together with on_shadow= or recorder=.")
        if self.traffic == AUTO and self.url is None:
            raise InvalidOptionError(
                'The option traffic="auto" needs url=: the split is read from there.'
            )
