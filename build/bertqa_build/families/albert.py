"""ALBERT."""

from __future__ import annotations

from transformers import AlbertForQuestionAnswering

from bertqa_build.families._family import Family


class Albert(Family):
    """ALBERT, whose layers share their weights.

    SmoothQuant would scale those weights once for each layer that uses them.
    """

    name = "ALBERT"
    model_class = AlbertForQuestionAnswering
    smooth_quant = False


FAMILY = Albert()
