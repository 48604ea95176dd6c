"""Inputs without meaning, for exporting a model, timing it and warming it up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bertqa.artifact._tensors import ATTENTION_MASK, INPUT_IDS, INPUTS, TOKEN_TYPE_IDS

# Ids that stand for words in every vocabulary of the BERT family.
_WORDS = range(1_000, 20_000)


def synthetic_inputs(
    batch: int,
    tokens: int,
    *,
    names: Iterable[str] = INPUTS,
    ids: range = _WORDS,
    padded: bool = False,
) -> dict[str, NDArray[np.int64]]:
    """Return inputs of a question-answering model; the same arguments return the same values.

    Args:
        batch: The number of windows.
        tokens: The length of every window.
        names: The inputs that the model has.
        ids: Where token ids are drawn from.
        padded: Whether the last quarter of the last window is padding.

    Returns:
        INT64 arrays `[batch, tokens]` by name: random ids; a mask of ones, but for padding; and
        token types of which the first half is the question.
    """
    mask = np.ones((batch, tokens), dtype=np.int64)
    if padded:
        mask[-1, tokens - tokens // 4 :] = 0
    types = np.zeros_like(mask)
    types[:, tokens // 2 :] = 1
    made = {
        INPUT_IDS: np.random.default_rng(0).integers(ids.start, ids.stop, (batch, tokens)),
        ATTENTION_MASK: mask,
        TOKEN_TYPE_IDS: types,
    }
    return {name: made[name] for name in names}
