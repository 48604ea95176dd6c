"""CamemBERT."""

from __future__ import annotations

from transformers import CamembertForQuestionAnswering

from bertqa_build.families.roberta import Roberta


class Camembert(Roberta):
    """RoBERTa in French."""

    name = "CamemBERT"
    model_class = CamembertForQuestionAnswering


FAMILY = Camembert()
