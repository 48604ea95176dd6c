"""What is compared: a version of a server, or a model that runs in this process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bertqa import AsyncQAClient, QAClient, _defaults
from bertqa.evaluation import System
from bertqa_cli.connection import ConnectionOptions

if TYPE_CHECKING:
    from bertqa_serve.http_api import System as Side

Client = TypeVar("Client", QAClient, AsyncQAClient)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A version or a model, which is not opened yet.

    Attributes:
        name: What it is called.
        where: The server that has it, or the file of the model.
        version: The version to ask the server for; None is the server's default.
        number: The version that it is, None for a model that is not published.
        size: How large it is, in bytes, where that is known.
        about: What it is made of, where that is known.
        place: Where it is, if `where` does not say that to a person.
    """

    name: str
    where: ConnectionOptions | Path
    version: int | None = None
    number: int | None = None
    size: int | None = None
    about: str = ""
    place: str = ""

    def system(self, stack: ExitStack) -> System:
        """Return it with a client that is open.

        Args:
            stack: Closes the client.
        """
        if isinstance(self.where, Path):
            client = stack.enter_context(scoring_client(self.where))
        else:
            client = stack.enter_context(self._opened(QAClient))
        about = ", ".join(filter(None, (self.about, f"from {self.place or self._place()}")))
        return System(self.name, client, self.version, self.size, about)

    def _place(self) -> str:
        if not isinstance(self.where, Path):
            return str(self.where.address)
        here = Path.cwd()
        return str(self.where.relative_to(here) if self.where.is_relative_to(here) else self.where)

    def side(self) -> Side:
        """Return it for the page that asks several side by side."""
        from bertqa_serve.http_api import System as Side

        return Side(self.name, partial(self._opened, AsyncQAClient), self.version, self.number)

    def _opened(self, kind: type[Client]) -> Client:
        if isinstance(self.where, Path):
            return kind.local(self.where)
        return kind(**self.where.client_arguments())


def scoring_client(path: Path) -> QAClient:
    """Return a client of a model in this process whose answers are to be scored.

    Args:
        path: What `bertqa.runtime.load` loads.

    Raises:
        BertQAError: What that raises.
    """
    from bertqa.runtime import load

    transport = load(path, scoring=True)
    return QAClient(transport=transport, timeout=_defaults.LOCAL_TIMEOUT_SECONDS)
