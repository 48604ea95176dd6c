"""From windows to the arrays of one request, with little padding, and back to single windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bertqa import _defaults
from bertqa.artifact import END_LOGITS, START_LOGITS
from bertqa.errors import ProtocolError
from bertqa.qa._decoding import Logits
from bertqa.qa._windows import Window


def padded_length(tokens: int) -> int:
    """Return a number of tokens, rounded up, so that the server meets few lengths.

    Args:
        tokens: The number of tokens in the longest window.

    Returns:
        The number of tokens to pad to.
    """
    return -(-tokens // _defaults.LENGTH_MULTIPLE) * _defaults.LENGTH_MULTIPLE


def collate(windows: Sequence[Window]) -> dict[str, NDArray[np.int64]]:
    """Stack windows into the inputs of one request.

    The attention mask hides the padding from the model, so that its token does not matter.

    Args:
        windows: At least one window, all for models with the same inputs.

    Returns:
        The model's inputs by name: INT64 `[windows, tokens]`, padded with zeros to a common length.
    """
    shape = len(windows), padded_length(max(map(len, windows)))
    inputs = {name: np.zeros(shape, dtype=np.int64) for name in windows[0].inputs}
    for row, window in enumerate(windows):
        for name, array in inputs.items():
            array[row, : len(window)] = getattr(window, name)
    return inputs


def split_logits(
    outputs: Mapping[str, NDArray[np.float32]], windows: Sequence[Window]
) -> list[Logits]:
    """Split the outputs of one request by window, without the padding: the inverse of `collate`.

    Args:
        outputs: The model's outputs by name: FP32 `[windows, tokens]`.
        windows: The windows that were collated.

    Returns:
        The logits of each window, FP32 `[tokens]` each, in their order.

    Raises:
        ProtocolError: An output is missing, has another shape, or is not finite.
    """
    lengths = [len(window) for window in windows]
    shape = len(lengths), padded_length(max(lengths))
    arrays = []
    for name in (START_LOGITS, END_LOGITS):
        output = outputs.get(name)
        if output is None:
            raise ProtocolError(f"The server's answer has no output {name!r}.")
        if output.shape != shape:
            raise ProtocolError(
                f"The server's output {name!r} has the shape {output.shape}, not {shape}."
            )
        arrays.append(output)
    rows = [
        Logits(start[:length], end[:length])
        for start, end, length in zip(*arrays, lengths, strict=True)
    ]
    if not all(np.isfinite(row.start).all() and np.isfinite(row.end).all() for row in rows):
        raise ProtocolError("The server's logits are not all finite numbers.")
    return rows
