"""Ask questions of a BERT model served by OpenVINO Model Server."""

from bertqa.answer import Answer
from bertqa.client import QAClient

__all__ = ["Answer", "QAClient"]
