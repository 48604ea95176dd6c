"""XLM-RoBERTa."""

from __future__ import annotations

from transformers import XLMRobertaForQuestionAnswering

from bertqa_build.families.roberta import Roberta


class XLMRoberta(Roberta):
    """RoBERTa in a hundred languages."""

    name = "XLM-RoBERTa"
    model_class = XLMRobertaForQuestionAnswering


FAMILY = XLMRoberta()
