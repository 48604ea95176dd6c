"""Everything that can go wrong when a server is started, as one small tree with one root."""

from __future__ import annotations


class ServeError(Exception):
    """The root of the errors that this package raises on purpose.

    `detail` keeps what the server or a library said, word for word, where there is such a text.
    """

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail


class UsageError(ServeError):
    """The command line or an option is wrong."""


class ConfigError(ServeError):
    """`config.json` cannot be read, or says what the server cannot do."""


class ModelLoadError(ServeError):
    """A model version is missing, damaged, or no model that OpenVINO can load."""


class RepositoryMissingError(ServeError):
    """There is no model repository at the path, or nothing in it that can be served."""


class PortInUseError(ServeError):
    """Another process listens where the server should."""


class EngineNotFoundError(ServeError):
    """The engine that was asked for is not on this machine."""


class ServerDiedError(ServeError):
    """The server ended by itself, or did not become ready in time."""
