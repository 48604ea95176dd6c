"""The answer to a question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A stretch of the context that answers the question.

    Attributes:
        text: The stretch, `context[start:end]`; empty where the context holds no answer.
        start: Where it begins, in characters; 0 where the context holds no answer.
        end: Where it ends, in characters; 0 where the context holds no answer.
        score: How likely it is the answer, from 0 to 1.
        model_version: The version that answered.
    """

    text: str
    start: int
    end: int
    score: float
    model_version: int
