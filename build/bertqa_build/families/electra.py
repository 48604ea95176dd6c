"""ELECTRA."""

from __future__ import annotations

from transformers import ElectraForQuestionAnswering

from bertqa_build.families._family import Family, LayerNames


class Electra(Family):
    """ELECTRA's discriminator."""

    name = "ELECTRA"
    model_class = ElectraForQuestionAnswering
    layer_names = LayerNames()


FAMILY = Electra()
