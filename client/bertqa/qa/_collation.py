"""From windows to the arrays of one request, with little padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bertqa import _defaults
from bertqa.artifact import ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS
from bertqa.qa._tokenization import Window


def padded_length(tokens: int) -> int:
    """Round up, so that the server meets few lengths."""
    return -(-tokens // _defaults.LENGTH_MULTIPLE) * _defaults.LENGTH_MULTIPLE


def collate(windows: Sequence[Window]) -> dict[str, NDArray[np.int64]]:
    """Return the model's inputs, INT64 `[windows, tokens]`, padded with zeros to a common length.

    The mask hides the padding from the model, so its token's number does not matter.
    """
    shape = len(windows), padded_length(max(map(len, windows)))
    inputs = {
        name: np.zeros(shape, dtype=np.int64)
        for name in (INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS)
    }
    for row, window in enumerate(windows):
        inputs[INPUT_IDS][row, : len(window)] = window.input_ids
        inputs[ATTENTION_MASK][row, : len(window)] = 1
        inputs[TOKEN_TYPE_IDS][row, : len(window)] = window.token_type_ids
    return inputs
