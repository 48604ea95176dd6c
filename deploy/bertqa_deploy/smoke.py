"""One question with a known answer: a version that gets it wrong gets no traffic."""

from __future__ import annotations

from dataclasses import dataclass

from bertqa import QAClient
from bertqa.errors import InvalidOptionError
from bertqa_deploy.errors import DeployError


class SmokeError(DeployError):
    """A version gave a wrong answer to the smoke question."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """A question, the text that answers it, and what the answer has to contain, in any case."""

    question: str = "When was the bridge opened?"
    context: str = (
        "The bridge over the river was designed by Anna Berg. "
        "It was opened in 1932 after four years of work."
    )
    answer: str = "1932"

    def __post_init__(self) -> None:
        if not self.answer.strip() or self.answer.casefold() not in self.context.casefold():
            raise InvalidOptionError(
                f"The smoke question's answer {self.answer!r} is not in its context."
            )

    def check(self, client: QAClient, version: int) -> str:
        """Ask a version and give its answer. Raises SmokeError, and what the client raises."""
        given = client.answer(self.question, self.context, version=version).text
        if self.answer.casefold() not in given.casefold():
            raise SmokeError(
                f"version {version} answers {given!r} to {self.question!r}, "
                f"where {self.answer!r} is right"
            )
        return given
