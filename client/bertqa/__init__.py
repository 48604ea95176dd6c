"""Answer questions with a BERT model that OpenVINO Model Server serves."""

from importlib.metadata import version as _version

from bertqa import runtime
from bertqa.client import (
    AsyncQAClient,
    BatchReport,
    QAClient,
    Recorder,
    answer_file,
    load_models_with,
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
    TextTooLongError,
    TokenizerError,
    VersionNotFoundError,
)
from bertqa.qa import Answer, Decoder, PipelineDecoder, QATokenizer, SquadDecoder, highlight
from bertqa.transport import TLS

__version__ = _version("bertqa")

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
    "SquadDecoder",
    "TextTooLongError",
    "TokenizerError",
    "VersionNotFoundError",
    "__version__",
    "answer_file",
    "highlight",
]

# The clients do not import the runtime, which is above them: here the two meet.
load_models_with(runtime.load)
