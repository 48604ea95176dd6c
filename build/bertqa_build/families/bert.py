"""BERT."""

from __future__ import annotations

from transformers import BertForQuestionAnswering

from bertqa_build.families._family import Family, LayerNames


class Bert(Family):
    """BERT, and MiniLM."""

    name = "BERT"
    model_class = BertForQuestionAnswering
    layer_names = LayerNames()


FAMILY = Bert()
