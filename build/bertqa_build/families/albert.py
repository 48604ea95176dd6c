"""ALBERT."""

from __future__ import annotations

from transformers import AlbertForQuestionAnswering

from bertqa_build.families._family import Family


class Albert(Family):
    """ALBERT, whose layers share their weights."""

    name = "ALBERT"
    model_class = AlbertForQuestionAnswering
    no_smooth_quant = "its layers share weights, to which no one factor fits"


FAMILY = Albert()
