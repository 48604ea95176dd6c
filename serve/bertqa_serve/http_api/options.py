"""What the HTTP API answers with, where it listens, and how much it takes at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertqa._defaults import TIMEOUT_SECONDS
from bertqa.artifact import MODEL_NAME
from bertqa.errors import InvalidOptionError
from bertqa.transport import is_loopback
from bertqa_serve.ports import reachable

HTTP_PORT = 8080
LOOPBACK = "127.0.0.1"
ANY_ORIGIN = "*"

ApiToken = str | Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Where answers are recorded, as evidence for the next switch; see `bertqa.Recorder`.

    Attributes:
        path: The file.
        sample: The share of questions that are recorded.
        texts: Whether questions, contexts and answers are written as they are.
    """

    path: Path
    sample: float = 1.0
    texts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpApiOptions:
    """How the HTTP API is run.

    Attributes:
        client: The arguments of the `AsyncQAClient` that answers, such as `url` and `token`.
        tracks: A file with several servers and the split between them, in place of `url`; it is
            followed where it changes.
        host: The address to listen on.
        port: The port; 0 takes any that is free, None 8080 or the next one that is free.
        workers: Processes that answer; each has connections of its own.
        places: How many requests of each process are answered or wait at once; more are refused.
        body_bytes: The longest body of a request.
        body_seconds: How long a body may take to arrive.
        token: The bearer token that requests have to bring, or what returns the one of now.
        models: Patterns of the names of further models on the same servers that a request may
            name, such as `customer-*`.
        origins: Web origins whose pages may ask; "*" is any.
        recording: Where answers are recorded.
        log_level: What is logged: DEBUG, INFO (each request), WARNING or ERROR.
        drain_seconds: How long requests in flight may take when the process is to end.

    Raises:
        InvalidOptionError: An origin is not one.
    """

    client: Mapping[str, Any] = field(repr=False)
    tracks: Path | None = None
    host: str = LOOPBACK
    port: int | None = None
    workers: int = 1
    places: int = 1024
    body_bytes: int = 16 * 1024 * 1024
    body_seconds: float = 30.0
    token: ApiToken | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    recording: Recording | None = None
    log_level: str = "INFO"
    drain_seconds: float = 30.0

    def __post_init__(self) -> None:
        for origin in self.origins:
            scheme, separator, rest = origin.partition("://")
            is_origin = scheme in ("http", "https") and separator and rest and "/" not in rest
            if origin != ANY_ORIGIN and not (is_origin and origin.isprintable()):
                raise InvalidOptionError(
                    f"{origin!r} is not a web origin: write it as https://app.example.com, "
                    "without a path."
                )

    @property
    def model(self) -> str:
        """The name of the model."""
        name: str = self.client.get("model", MODEL_NAME)
        return name

    @property
    def timeout(self) -> float | None:
        """Seconds that an answer may take at most; None sets no limit."""
        seconds: float | None = self.client.get("timeout", TIMEOUT_SECONDS)
        return seconds

    @property
    def is_local(self) -> bool:
        """Whether only this machine can ask."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        return f"http://{reachable(self.host)}:{self.port}"
