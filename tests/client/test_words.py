from __future__ import annotations

import pytest

from bertqa._words import counted, first_of


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 epochs"),
        (1, "1 epoch"),
        (1.0, "1 epoch"),
        (0.5, "0.5 epochs"),
        (1234567, "1234567 epochs"),
    ],
)
def test_one_is_in_the_singular(number: float, words: str) -> None:
    assert counted(number, "epoch") == words
    assert counted(number, "batch", "batches").endswith("batch" if number == 1 else "batches")


@pytest.mark.parametrize(("items", "words"), [("", ""), ("ab", "a, b"), ("abc", "a, b and 1 more")])
def test_what_is_left_out_is_counted(items: str, words: str) -> None:
    assert first_of(list(items), 2) == words
    assert first_of(list(items), 2, "; ") == words.replace(",", ";")
