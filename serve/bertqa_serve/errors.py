"""The errors of starting and running a server."""

from __future__ import annotations

from bertqa.errors import BertQAError


class ServeError(BertQAError):
    """A server cannot be started, or ended by itself."""


class UsageError(ServeError):
    """The command line or an option is wrong."""


class PortInUseError(ServeError):
    """Another process listens on the server's port."""


class EngineNotFoundError(ServeError):
    """The requested engine is not on this machine."""


class ServerDiedError(ServeError):
    """The server ended by itself, or did not become ready in time."""
