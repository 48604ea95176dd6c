"""DistilBERT."""

from __future__ import annotations

from typing import Any

from transformers import DistilBertForQuestionAnswering

from bertqa_build.families._family import Family


class DistilBert(Family):
    """DistilBERT, which has no token types."""

    name = "DistilBERT"
    model_class = DistilBertForQuestionAnswering

    def has_token_types(self, config: Any) -> bool:
        """Return False."""
        return False


FAMILY = DistilBert()
