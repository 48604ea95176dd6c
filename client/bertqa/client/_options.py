"""The options of a question, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from bertqa import _defaults
from bertqa.errors import InvalidOptionError
from bertqa.qa import Decoder, PipelineDecoder

_PIPELINE_OPTIONS = ("max_answer_len", "align_to_words", "handle_impossible_answer")


class AskOptions(TypedDict, total=False):
    """The keywords that `answer`, `answers` and `answer_many` take.

    Those of the Hugging Face `question-answering` pipeline have its names.

    Attributes:
        max_seq_len: The length of a window, in tokens; by default the model's own.
        doc_stride: The overlap of neighbouring windows, in tokens; by default the model's own.
        max_question_len: How many tokens of the question are kept.
        max_answer_len: How many tokens an answer has at most.
        align_to_words: Whether to widen an answer to whole words.
        handle_impossible_answer: Whether "no answer" competes with the answers.
        decoder: The decoder, for example `SquadDecoder()`, in place of the pipeline's.
        version: The version that answers; None is the client's own choice.
        key: A key that always goes to the same version of those that share the traffic.
        timeout: Seconds that the answer may take, or, in a stream, each request.
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
        """Check options.

        Args:
            options: Keywords of `AskOptions`.
            timeout: The timeout where they hold none, in seconds.

        Returns:
            The settings.

        Raises:
            InvalidOptionError: An option is not known, not valid, or does not fit another.
        """
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
                f"{', '.join(pipeline)} cannot be passed beside decoder=: pass it to the decoder."
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
                "Pass None for the server's default version."
            )
        return settings
