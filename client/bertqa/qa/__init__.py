"""From a question and a context to windows, and from logits to an answer."""

from bertqa.qa._answer import Answer
from bertqa.qa._collation import collate, padded_length, split_logits
from bertqa.qa._decoding import Decoder, Logits, PipelineDecoder, Span, SquadDecoder
from bertqa.qa._graphemes import whole_clusters
from bertqa.qa._highlight import Highlight, Piece, cut_around, highlight
from bertqa.qa._normalize import normalize
from bertqa.qa._tokenization import QATokenizer, Window, check_text

__all__ = [
    "Answer",
    "Decoder",
    "Highlight",
    "Logits",
    "Piece",
    "PipelineDecoder",
    "QATokenizer",
    "Span",
    "SquadDecoder",
    "Window",
    "check_text",
    "collate",
    "cut_around",
    "highlight",
    "normalize",
    "padded_length",
    "split_logits",
    "whole_clusters",
]
