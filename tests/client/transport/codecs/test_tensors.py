from __future__ import annotations

import numpy as np
import pytest

from bertqa.errors import ProtocolError
from bertqa.transport.codecs._tensors import output_array, version_number


def test_a_tensor_is_read() -> None:
    content = np.arange(6, dtype="<f4").tobytes()
    assert output_array("logits", "FP32", [2, 3], content).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "text"),
    [
        ("FP16", [1, 2], 4, "FP16, not FP32"),
        ("FP32", [1, 2], 7, "7 bytes, not 8"),
        ("FP32", [-1, 2], 8, r"shape \[-1, 2\]"),
        ("FP32", [1.5], 4, r"shape \[1\.5\]"),
        ("FP32", [10**12, 10**12], 8, "has 8 bytes"),
    ],
)
def test_what_is_not_a_tensor_is_refused(
    datatype: str, shape: list[int], size: int, text: str
) -> None:
    with pytest.raises(ProtocolError, match=text):
        output_array("logits", datatype, shape, bytes(size))


def test_versions_are_numbers() -> None:
    assert version_number("17") == 17
    for text in ("", "-1", "1.0", "٣", "latest"):
        with pytest.raises(ProtocolError, match="not a number"):
            version_number(text)
