"""Ask questions of a BERT model served by OpenVINO Model Server."""

from bertqa.answer import Answer
from bertqa.async_client import AsyncQAClient
from bertqa.client import QAClient
from bertqa.decoding import PipelineDecoder, SquadDecoder
from bertqa.errors import BertQAError
from bertqa.tokenization import QATokenizer
from bertqa.transport.security import TLS

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
