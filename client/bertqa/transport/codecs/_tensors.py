"""Reading the tensors of KServe v2 with the distrust that a network deserves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bertqa.errors import ProtocolError


def output_array(
    name: str, datatype: str, shape: Sequence[int], content: bytes | memoryview
) -> NDArray[np.float32]:
    """Read an FP32 tensor from its bytes. Raises ProtocolError where they do not make one."""
    check_output(name, datatype, shape)
    expected = 4 * math.prod(shape)
    if len(content) != expected:
        raise ProtocolError(
            f"The server's output {name!r} of shape {list(shape)} has {len(content)} bytes, "
            f"not {expected}."
        )
    return np.frombuffer(content, dtype="<f4").reshape(tuple(shape))


def check_output(name: str, datatype: str, shape: Sequence[int]) -> None:
    """Refuse a tensor that is none, or not of FP32. Raises ProtocolError."""
    if datatype != "FP32":
        raise ProtocolError(f"The server's output {name!r} is {datatype}, not FP32.")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ProtocolError(f"The server's output {name!r} has the shape {list(shape)}.")


def version_number(text: str) -> int:
    """Read a version that a server names. Raises ProtocolError."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise ProtocolError(f"The server names a version {text!r}, which is no number.")
    return int(text)
