"""What a question gets back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A stretch of the context that answers the question.

    `start` and `end` are character offsets: `context[start:end] == text`, always. `score` is from
    0 to 1. Where the context holds no answer, `text` is empty and both offsets are 0.
    `model_version` says which version answered.
    """

    text: str
    start: int
    end: int
    score: float
    model_version: int
