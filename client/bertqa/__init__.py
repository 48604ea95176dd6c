"""Ask questions of a BERT model served by OpenVINO Model Server."""

from bertqa import runtime
from bertqa.client import AsyncQAClient, QAClient, load_models_with
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

# The clients do not import the runtime, which is above them: here the two meet.
load_models_with(runtime.load)
