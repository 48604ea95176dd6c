"""Everything that can go wrong when a server is started, as one small tree with one root."""

from __future__ import annotations

from bertqa.errors import BertQAError


class ServeError(BertQAError):
    """A server cannot be started, or ended by itself."""


class UsageError(ServeError):
    """The command line or an option is wrong."""


class RepositoryMissingError(ServeError):
    """There is no model repository at the path, or nothing in it that can be served."""


class PortInUseError(ServeError):
    """Another process listens where the server should."""


class EngineNotFoundError(ServeError):
    """The engine that was asked for is not on this machine."""


class ServerDiedError(ServeError):
    """The server ended by itself, or did not become ready in time."""
