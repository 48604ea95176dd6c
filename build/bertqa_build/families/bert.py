"""BERT."""

from __future__ import annotations

from transformers import BertForQuestionAnswering

from bertqa_build.families._family import Family


class Bert(Family):
    """BERT, and MiniLM."""

    name = "BERT"
    model_class = BertForQuestionAnswering


FAMILY = Bert()
