"""ELECTRA."""

from __future__ import annotations

from transformers import ElectraForQuestionAnswering

from bertqa_build.families._family import Family


class Electra(Family):
    """ELECTRA's discriminator."""

    name = "ELECTRA"
    model_class = ElectraForQuestionAnswering


FAMILY = Electra()
