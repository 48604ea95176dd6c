from __future__ import annotations

import numpy as np

from bertqa.qa import QATokenizer, collate, padded_length
from tests.support.models import tokenizer_json


def test_lengths_are_rounded_up_to_few() -> None:
    assert [padded_length(tokens) for tokens in (1, 32, 33, 384)] == [32, 32, 64, 384]


def test_windows_are_stacked_and_padded_with_zeros() -> None:
    tokenizer = QATokenizer.from_json(tokenizer_json())
    (short,) = tokenizer.windows("Who?", "A few words.")
    (long,) = tokenizer.windows("Who?", "A few words. " * 10)

    inputs = collate([short, long])

    assert {array.shape for array in inputs.values()} == {(2, 64)}
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64)}
    assert inputs["attention_mask"].sum(axis=1).tolist() == [len(short), len(long)]
    for row, window in enumerate((short, long)):
        assert inputs["input_ids"][row, : len(window)].tolist() == window.input_ids.tolist()
        assert not inputs["input_ids"][row, len(window) :].any()
        assert (
            inputs["token_type_ids"][row, : len(window)].tolist() == window.token_type_ids.tolist()
        )
