"""What is compared: a version of a server, or a model that runs in this process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertqa import AsyncQAClient, QAClient
from bertqa.evaluation import System
from bertqa_cli.options import ConnectionOptions

if TYPE_CHECKING:
    from bertqa_serve.http_api import System as Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A version or a model, which is not opened yet.

    Attributes:
        name: What it is called.
        where: The server that has it, or the file of the model.
        version: The version to ask the server for; None is the server's default.
        number: The version that it is, None for a model that is not published.
        size: How large it is, in bytes, where that is known.
    """

    name: str
    where: ConnectionOptions | Path
    version: int | None = None
    number: int | None = None
    size: int | None = None

    def system(self, stack: ExitStack) -> System:
        """Return it with a client that is open.

        Args:
            stack: Closes the client.
        """
        opened = QAClient.local(self.where) if isinstance(self.where, Path) else None
        client = opened or QAClient(**self._arguments())
        return System(self.name, stack.enter_context(client), self.version, self.size)

    def side(self) -> Side:
        """Return it for the page that asks several side by side."""
        from bertqa_serve.http_api import System as Side

        def opened() -> AsyncQAClient:
            if isinstance(self.where, Path):
                return AsyncQAClient.local(self.where)
            return AsyncQAClient(**self._arguments())

        return Side(self.name, opened, self.version, self.number)

    def _arguments(self) -> dict[str, Any]:
        assert isinstance(self.where, ConnectionOptions)
        return self.where.client_arguments()
