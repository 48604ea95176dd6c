"""Answer questions with a BERT model that OpenVINO Model Server serves."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bertqa._late import late_name
from bertqa._loading import load_models_with

if TYPE_CHECKING:
    from pathlib import Path

    from bertqa.client import (
        AsyncQAClient,
        BatchReport,
        QAClient,
        Recorder,
        answer_file,
    )
    from bertqa.errors import (
        AccessDeniedError,
        BertQAError,
        CertificateError,
        ClientStateError,
        ConfigChangedError,
        ConfigError,
        DataError,
        DeadlineExceededError,
        InvalidContextError,
        InvalidOptionError,
        InvalidQuestionError,
        ModelLoadError,
        ModelNotFoundError,
        ModelNotReadyError,
        NotAQAModelError,
        ProtocolError,
        QualityGateError,
        RepositoryBusyError,
        RepositoryError,
        RequestTooLargeError,
        ServerOverloadedError,
        ServerUnreachableError,
        SignatureError,
        TextTooLongError,
        TokenizerError,
        VersionNotFoundError,
    )
    from bertqa.qa import Answer, Decoder, PipelineDecoder, QATokenizer, SquadDecoder, highlight
    from bertqa.transport import TLS

    __version__: str

__all__ = [
    "TLS",
    "AccessDeniedError",
    "Answer",
    "AsyncQAClient",
    "BatchReport",
    "BertQAError",
    "CertificateError",
    "ClientStateError",
    "ConfigChangedError",
    "ConfigError",
    "DataError",
    "DeadlineExceededError",
    "Decoder",
    "InvalidContextError",
    "InvalidOptionError",
    "InvalidQuestionError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelNotReadyError",
    "NotAQAModelError",
    "PipelineDecoder",
    "ProtocolError",
    "QAClient",
    "QATokenizer",
    "QualityGateError",
    "Recorder",
    "RepositoryBusyError",
    "RepositoryError",
    "RequestTooLargeError",
    "ServerOverloadedError",
    "ServerUnreachableError",
    "SignatureError",
    "SquadDecoder",
    "TextTooLongError",
    "TokenizerError",
    "VersionNotFoundError",
    "__version__",
    "answer_file",
    "highlight",
]

# From the bottom up: what a floor does not have is looked for in the next one.
_FLOORS = ("errors", "qa", "transport", "client")


def __getattr__(name: str) -> Any:
    """Return a public name, whose floor is imported when it is asked for: some take a second."""
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("bertqa")
    elif name in (*_FLOORS, "artifact", "runtime"):
        return import_module(f"bertqa.{name}")
    else:
        value = late_name(__name__, name, __all__, _FLOORS)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, those that are not imported yet as well."""
    return sorted(__all__)


def _load(path: Path, version: int | None) -> Any:
    from bertqa.runtime import load

    return load(path, version)


# The clients do not import the runtime, which is above them: here the two meet.
load_models_with(_load)
