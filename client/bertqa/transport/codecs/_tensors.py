"""Decoding tensors that came over a network, with every claim of theirs checked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bertqa._checks import MOST_VERSION, shown
from bertqa.errors import ProtocolError

_VERSION = re.compile(r"[0-9]{1,19}", re.ASCII)


def output_array(
    name: str, datatype: str, shape: Sequence[int], content: bytes | memoryview
) -> NDArray[np.float32]:
    """Decode an FP32 tensor.

    Args:
        name: The output's name, for messages.
        datatype: The KServe datatype that the server names.
        shape: The shape that the server names.
        content: The values, little-endian, in row-major order.

    Returns:
        A read-only FP32 array of that shape.

    Raises:
        ProtocolError: The datatype is not FP32, or the shape does not fit the content.
    """
    check_output(name, datatype, shape)
    expected = 4 * math.prod(shape)
    if len(content) != expected:
        raise ProtocolError(
            f"The server's output {name!r} of shape {shown(list(shape))} has {len(content)} bytes, "
            f"not {shown(expected)}."
        )
    try:
        return np.frombuffer(content, dtype="<f4").reshape(tuple(shape))
    except ValueError as error:  # Where a size is 0, others may be as large as they like.
        raise _no_shape(name, shape) from error


def check_output(name: str, datatype: str, shape: Sequence[int]) -> None:
    """Check the description of an output.

    Args:
        name: The output's name, for messages.
        datatype: The KServe datatype that the server names.
        shape: The shape that the server names.

    Raises:
        ProtocolError: The datatype is not FP32, or the shape is not one.
    """
    if datatype != "FP32":
        raise ProtocolError(f"The server's output {name!r} is {datatype!s:.80}, not FP32.")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise _no_shape(name, shape)


def _no_shape(name: str, shape: Sequence[int]) -> ProtocolError:
    return ProtocolError(
        f"The server's output {name!r} has the shape {shown(list(shape))}, which is not valid."
    )


def version_number(text: str) -> int:
    """Decode a version that a server names.

    Args:
        text: Decimal digits.

    Returns:
        The version.

    Raises:
        ProtocolError: The text is not a whole number of 64 bits.
    """
    if not (isinstance(text, str) and _VERSION.fullmatch(text) and int(text) <= MOST_VERSION):
        raise ProtocolError(
            f"The server names a version {shown(text)}, which is not a number that a version has."
        )
    return int(text)
