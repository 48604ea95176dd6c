"""From a question and a context to windows, and from logits to an answer."""

from bertqa.qa._answer import Answer
from bertqa.qa._collation import collate, padded_length, split_logits
from bertqa.qa._decoding import Decoder, Logits, PipelineDecoder, Span, SquadDecoder
from bertqa.qa._encoding import Pace, no_pace
from bertqa.qa._graphemes import whole_clusters
from bertqa.qa._highlight import Highlight, Piece, cut_around, highlight
from bertqa.qa._normalize import normalize
from bertqa.qa._tokenization import QATokenizer, check_text
from bertqa.qa._windows import Window, Windows

__all__ = [
    "Answer",
    "Decoder",
    "Highlight",
    "Logits",
    "Pace",
    "Piece",
    "PipelineDecoder",
    "QATokenizer",
    "Span",
    "SquadDecoder",
    "Window",
    "Windows",
    "check_text",
    "collate",
    "cut_around",
    "highlight",
    "no_pace",
    "normalize",
    "padded_length",
    "split_logits",
    "whole_clusters",
]
