from __future__ import annotations

import numpy as np

from bertqa.qa import QATokenizer, collate, padded_length, split_logits
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


def test_logits_are_split_as_windows_were_collated() -> None:
    tokenizer = QATokenizer.from_json(tokenizer_json())
    windows = [
        window for count in (1, 10) for window in tokenizer.windows("Who?", "A few words. " * count)
    ]
    ids = collate(windows)["input_ids"].astype(np.float32)
    for window, logits in zip(
        windows, split_logits({"start_logits": ids, "end_logits": -ids}, windows), strict=True
    ):
        assert logits.start.tolist() == window.input_ids.tolist()
        assert logits.end.tolist() == (-window.input_ids).tolist()
