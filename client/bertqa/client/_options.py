"""What a caller can say of a question, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from bertqa import _defaults
from bertqa.errors import InvalidOptionError
from bertqa.qa import Decoder, PipelineDecoder

_PIPELINE_OPTIONS = ("max_answer_len", "align_to_words", "handle_impossible_answer")


class AskOptions(TypedDict, total=False):
    """The keywords that every way of asking takes; those of the pipeline have its names.

    `max_seq_len`, `doc_stride`, `max_question_len` and `max_answer_len` are in tokens. The first
    two are the model's own where they are not given.

    `decoder` takes the window of the pipeline's decoding, for example `SquadDecoder()`.
    `version` asks this version of the model, `key` always the same one of those that share the
    traffic. `timeout` is in seconds: for the whole answer, and in a stream for each request.
    """

    max_seq_len: int
    doc_stride: int
    max_question_len: int
    max_answer_len: int
    align_to_words: bool
    handle_impossible_answer: bool
    decoder: Decoder
    version: int | None
    key: str | None
    timeout: float


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
        """Check options; `timeout` is for where they give none. Raises InvalidOptionError."""
        unknown = sorted(options.keys() - AskOptions.__annotations__.keys())
        if unknown:
            raise InvalidOptionError(
                f"There is no option {', '.join(unknown)}. "
                f"The options are {', '.join(AskOptions.__annotations__)}."
            )
        rest = dict(options)
        pipeline = {name: rest.pop(name) for name in _PIPELINE_OPTIONS if name in rest}
        if pipeline and "decoder" in rest:
            raise InvalidOptionError(
                f"{', '.join(pipeline)} cannot be given beside decoder=: give it to the decoder."
            )
        decoder = rest.pop("decoder", None) or PipelineDecoder(**pipeline)
        settings = cls(**{"decoder": decoder, "timeout": timeout, **rest})
        if not settings.timeout > 0:
            raise InvalidOptionError(
                f"timeout is {settings.timeout}, but it has to be above 0 seconds."
            )
        if settings.version is not None and settings.version < 1:
            raise InvalidOptionError(
                f"version is {settings.version}, but versions begin at 1. "
                "None asks the server's default version."
            )
        return settings
