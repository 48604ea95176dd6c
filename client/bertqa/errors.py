"""Everything that can go wrong, as one small tree with one root."""

from __future__ import annotations

import re

_TOO_LONG = re.compile(r"\S{301,}")
_SHOWN = 200


class BertQAError(Exception):
    """The root of all errors that this project raises on purpose.

    Args:
        message: What went wrong, with which value, and what to do. Words of more than 300
            characters, such as a path or a name, are cut.
        detail: The message of the server or of a library, word for word, where there is one.
    """

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(_TOO_LONG.sub(lambda word: f"{word[0][:_SHOWN]}...", message))
        self.detail = detail


class InvalidQuestionError(BertQAError):
    """The question is missing, empty, or not a text that can be encoded."""


class InvalidContextError(BertQAError):
    """The context is missing, empty, or not a text that can be encoded."""


class InvalidOptionError(BertQAError, ValueError):
    """An option has a value that is not valid, or is not known at all."""


class ClientStateError(BertQAError):
    """The client is closed, or was opened before a fork."""


class ServerUnreachableError(BertQAError):
    """Cannot connect to the address or, as a gateway reports, to the server behind it."""


class CertificateError(ServerUnreachableError):
    """The TLS handshake failed: one side does not trust the other, or does not speak TLS."""


class ServerOverloadedError(BertQAError):
    """The server, or a proxy in front of it, refused the request for lack of room.

    Args:
        message: What went wrong, with which value, and what to do.
        detail: What the server said, word for word.
        retry_after: How many seconds the server asks to wait, where it says so.
    """

    def __init__(
        self, message: str, *, detail: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class RequestTooLargeError(BertQAError):
    """A message is larger than the server or the client takes, however often it is sent."""


class DeadlineExceededError(BertQAError):
    """No answer came within the timeout."""


class TextTooLongError(DeadlineExceededError):
    """The client's own work on a question and its context took longer than the timeout."""


class AccessDeniedError(BertQAError):
    """The server, or a proxy on the way to it, requires authentication or denies access."""


class ModelNotFoundError(BertQAError):
    """The server does not serve a model of that name."""


class VersionNotFoundError(BertQAError):
    """The server serves the model, but not that version of it."""


class ModelNotReadyError(BertQAError):
    """The model or version is loading, failed to load, or is being retired."""


class NotAQAModelError(BertQAError):
    """The served model lacks something that a question-answering model has."""


class ProtocolError(BertQAError):
    """The server sent what the protocol does not allow."""


class TokenizerError(BertQAError):
    """The tokenizer is missing, unreadable, or does not fit the model."""


class DataError(BertQAError):
    """A data file cannot be read or written, or does not hold what it should."""


class RepositoryError(BertQAError):
    """A model repository is missing, damaged, or cannot be written."""


class SignatureError(RepositoryError):
    """A version is not signed by the key that is required, or was changed since it was signed."""


class ConfigError(RepositoryError):
    """`config.json` cannot be read, or requires what the server cannot do."""


class ConfigChangedError(ConfigError):
    """Another program changed `config.json` meanwhile; `detail` shows the difference."""


class RepositoryBusyError(RepositoryError):
    """Another process writes to the model repository."""


class QualityGateError(BertQAError):
    """A version lost more than the quality gate allows: it is not published or gets no traffic."""


class ModelLoadError(BertQAError):
    """A model version is missing, damaged, or not a model that the engine can load."""
