"""Windows and offsets are exact with every kind of tokenizer: word pieces, byte pairs, unigrams."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from bertqa.errors import TokenizerError
from bertqa.qa import PipelineDecoder, QATokenizer, SquadDecoder, Window
from bertqa.qa._decoding import Logits
from bertqa.qa._windows import OUTSIDE
from tests.support.trained_tokenizers import (
    ARABIC,
    ENGLISH,
    JAPANESE,
    THAI,
    byte_pairs,
    byte_pairs_of_modernbert,
    json_of,
    unigram,
    unigram_of_bert,
    word_piece,
    word_piece_of_mpnet,
)

KINDS = [
    word_piece,
    word_piece_of_mpnet,
    byte_pairs,
    byte_pairs_of_modernbert,
    unigram,
    unigram_of_bert,
]
TEXTS = {
    "English": ENGLISH,
    "Japanese": JAPANESE,
    "Arabic": ARABIC,
    "Thai": THAI,
    "white space": " \tThe  Normans \n\n were\u00a0\u3000 here. \n ",
    "an emoji": "The 👩‍👩‍👧 family of Normandy, 😀😀.",
    "what looks special": "a ▁ and </s> [SEP] <pad> <mask> in ▁France",
}
QUESTION = "Who? 東京"

every_kind = pytest.mark.parametrize("train", KINDS, ids=lambda train: train.__name__)
every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
Train = Callable[[], Tokenizer]


def windows(train: Train, context: str, **lengths: Any) -> list[Window]:
    return list(QATokenizer.from_json(json_of(train)).windows(QUESTION, context, **lengths))


def best_span(window: Window, start: int, end: int) -> Logits:
    """Logits that are high for one start and one end."""
    logits = np.full((2, len(window)), -10.0, dtype=np.float32)
    logits[0, start], logits[1, end] = 10, 10
    return Logits(logits[0], logits[1])


@every_kind
@pytest.mark.parametrize("text", list(TEXTS.values())[:-1], ids=list(TEXTS)[:-1])
def test_windows_are_those_of_the_tokenizers_library(train: Train, text: str) -> None:
    reference = Tokenizer.from_str(json_of(train))
    reference.encode_special_tokens = True
    reference.enable_truncation(64, stride=16, strategy="only_second")
    encoding = reference.encode(QUESTION, text * 3)

    found = windows(train, text * 3, max_seq_len=64, doc_stride=16)

    expected = [encoding, *encoding.overflowing]
    assert [window.input_ids.tolist() for window in found] == [each.ids for each in expected]
    assert [window.token_type_ids.tolist() for window in found] == [
        each.type_ids for each in expected
    ]


@every_kind
@every_text
def test_any_answer_is_text_without_white_space_at_its_edges(train: Train, text: str) -> None:
    (window,) = windows(train, text, max_seq_len=500)
    inside = np.flatnonzero(window.offsets[:, 0] != OUTSIDE).tolist()
    decoders = (SquadDecoder(n_best=1), PipelineDecoder(align_to_words=False), PipelineDecoder())
    for start, end in zip(inside, inside[2:], strict=False):
        for decoder in decoders:
            best = decoder.decode(text, [window], [best_span(window, start, end)], 1)[0]
            answer = text[best.start : best.end]
            assert answer == answer.strip()
            assert answer or best[:2] == (0, 0)


@every_kind
@every_text
def test_tokens_are_in_order_and_leave_nothing_but_white_space_out(train: Train, text: str) -> None:
    (window,) = windows(train, text, max_seq_len=500)
    offsets = window.offsets[window.offsets[:, 0] != OUTSIDE]
    filled = offsets[offsets[:, 0] < offsets[:, 1]]
    assert all(one[0] <= other[0] for one, other in pairwise(filled.tolist()))
    covered = {place for begin, end in filled for place in range(begin, end)}
    assert all(
        character.isspace() or place in covered or not character.isprintable()
        for place, character in enumerate(text)
    )


@pytest.mark.parametrize(
    ("train", "context", "answer", "expected"),
    [
        (unigram, "A region of Normandy, in France.", "Normandy", "Normandy"),
        (byte_pairs, "A region of Normandy, in France.", "Normandy", "Normandy"),
        (byte_pairs_of_modernbert, "A region of Normandy, in France.", "ormand", "Normandy"),
        (unigram, "The people gave it.", "eopl", "people"),
        (unigram, JAPANESE, "京都", "京都"),
        (unigram, THAI, "เมือง", "เมือง"),
        (unigram, ARABIC, "صم", "عاصمة"),
    ],
)
def test_an_answer_is_widened_to_the_words_of_its_language(
    train: Train, context: str, answer: str, expected: str
) -> None:
    (window,) = windows(train, context, max_seq_len=500)
    begin = context.index(answer)
    start = int(np.flatnonzero(window.offsets[:, 1] > begin)[0])
    end = int(
        np.flatnonzero(
            (window.offsets[:, 0] < begin + len(answer)) & (window.offsets[:, 0] != OUTSIDE)
        )[-1]
    )
    best = PipelineDecoder().decode(context, [window], [best_span(window, start, end)], 1)[0]
    assert context[best.start : best.end] == expected


@every_kind
@pytest.mark.parametrize("answer", ["😀😁😂🤣", "ฉะเชิงเทรา"])
def test_bytes_of_one_character_count_once_in_the_length_of_an_answer(
    train: Train, answer: str
) -> None:
    context = f"It is {answer} here."
    (window,) = windows(train, context, max_seq_len=500)
    begin, end = window.offsets.T
    place = context.index(answer)
    inside = np.flatnonzero((begin >= place) & (end <= place + len(answer)) & (begin < end))
    characters = len(set(begin[inside]))
    assert characters <= len(answer)
    logits = best_span(window, int(inside[0]), int(inside[-1]))
    for length in range(max(characters - 1, 1), characters + 1):
        for decoder in (
            SquadDecoder(n_best=1, max_answer_len=length),
            PipelineDecoder(max_answer_len=length, align_to_words=False),
        ):
            best = decoder.decode(context, [window], [logits], 1)[0]
            assert (context[best.start : best.end] == answer) == (length == characters)


@pytest.mark.parametrize("train", KINDS[2:], ids=lambda train: train.__name__)
def test_a_span_that_ends_at_a_space_does_not_reach_the_next_word(train: Train) -> None:
    context = "It is 😀😁 here."
    (window,) = windows(train, context, max_seq_len=500)
    begin, end = window.offsets.T
    (space,) = np.flatnonzero((begin == 6) & (end == 5))
    (first,) = np.flatnonzero((begin == 3) & (begin < end))
    logits = best_span(window, int(first), int(space))
    best = PipelineDecoder().decode(context, [window], [logits], 1)[0]
    assert context[best.start : best.end] == "is"


def test_a_word_never_ends_before_a_mark_of_its_last_character() -> None:
    (window,) = windows(unigram, THAI, max_seq_len=500)
    for begin, end in window.word_offsets[window.offsets[:, 0] != OUTSIDE].tolist():
        assert begin == end or THAI[begin] not in "ุิีึืู่้๊๋์ัำ"
        assert end == len(THAI) or THAI[end] not in "ุิีึืู่้๊๋์ัำ"


@every_kind
def test_text_that_spells_special_tokens_stays_text(train: Train) -> None:
    tokenizer = Tokenizer.from_str(json_of(train))
    special = {each.content for each in tokenizer.get_added_tokens_decoder().values()}
    ids = {tokenizer.token_to_id(token) for token in special} - {tokenizer.token_to_id("[UNK]")}
    ids -= {tokenizer.token_to_id("<unk>")}
    (plain,) = windows(train, "a")
    (window,) = windows(train, " ".join(sorted(special)), max_seq_len=500)
    count = [sum(token in ids for token in each.input_ids.tolist()) for each in (plain, window)]
    assert count[0] == count[1]


@every_kind
def test_a_tokenizer_that_pads_on_the_left_is_refused(train: Train) -> None:
    tokenizer = train()
    tokenizer.enable_padding(direction="left")
    with pytest.raises(TokenizerError, match="pads on the left"):
        QATokenizer.from_json(tokenizer.to_str())
    tokenizer.enable_padding(direction="right")
    assert QATokenizer.from_json(tokenizer.to_str()).windows("Who?", "a")
