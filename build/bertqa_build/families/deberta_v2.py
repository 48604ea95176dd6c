"""DeBERTa-v2 and -v3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import DebertaV2ForQuestionAnswering
from transformers.models.deberta_v2 import modeling_deberta_v2

from bertqa_build.families._family import Family


class DebertaV2(Family):
    """DeBERTa-v2 and -v3, which attend to distances and mask by themselves."""

    name = "DeBERTa"
    model_class = DebertaV2ForQuestionAnswering
    fast_attention = "eager"

    def positions(self, config: Any) -> range | None:
        """Return the rows of the table of positions, if there is one; see `Family.positions`."""
        return super().positions(config) if config.position_biased_input else None

    def mask(self, config: Any, attention_mask: Tensor) -> Tensor:
        """Return the mask as it is, of which the model makes its own; see `Family.mask`."""
        return attention_mask

    @contextmanager
    def exporting(self) -> Iterator[None]:
        """Trace without a branch that OpenVINO does not load from ONNX.

        It is for queries and keys of different lengths, and here they have the same.
        """
        scripted = modeling_deberta_v2.build_rpos
        modeling_deberta_v2.build_rpos = _same_distances
        try:
            yield
        finally:
            modeling_deberta_v2.build_rpos = scripted


def _same_distances(
    query: Tensor, key: Tensor, distances: Tensor, buckets: int, largest: int
) -> Tensor:
    return distances


FAMILY = DebertaV2()
