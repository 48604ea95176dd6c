"""Ask questions of a BERT model served by OpenVINO Model Server."""

from bertqa.client import AsyncQAClient, QAClient
from bertqa.errors import BertQAError
from bertqa.qa import Answer, PipelineDecoder, QATokenizer, SquadDecoder
from bertqa.transport import TLS

__all__ = [
    "TLS",
    "Answer",
    "AsyncQAClient",
    "BertQAError",
    "PipelineDecoder",
    "QAClient",
    "QATokenizer",
    "SquadDecoder",
]
