"""The smoke test: one question with a known answer, without which a version gets no traffic."""

from __future__ import annotations

from dataclasses import dataclass

from bertqa import QAClient
from bertqa.errors import InvalidOptionError
from bertqa_deploy.errors import DeployError


class SmokeError(DeployError):
    """A version answered the smoke question wrongly."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """A question with a known answer.

    Attributes:
        question: The question.
        context: The text that answers it.
        answer: What the answer has to contain, whatever the case of its letters.

    Raises:
        InvalidOptionError: The answer is not in the context.
    """

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
        """Ask a version, and check its answer.

        Args:
            client: A client of the server.
            version: The version to ask.

        Returns:
            The text of the answer.

        Raises:
            SmokeError: The answer is wrong.
            BertQAError: As `QAClient.answer` does.
        """
        given = client.answer(self.question, self.context, version=version).text
        if self.answer.casefold() not in given.casefold():
            raise SmokeError(
                f"Version {version} answers {given!r} to {self.question!r}, "
                f"where {self.answer!r} is right."
            )
        return given
