from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import DisabledRepoError, GatedRepoError, HfHubHTTPError
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import ByteLevel

from bertqa import _defaults
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    TokenizerError,
)
from bertqa.qa import QATokenizer, Windows, _encoding
from bertqa.qa._encoding import Encoder, Pace, no_pace
from bertqa.qa._windows import OUTSIDE, Tokens
from tests.support.models import tokenizer_json
from tests.support.reading_hub import reading_hub

QUESTION = "Who gave their name to Normandy?"
CONTEXT = "The Normans gave their name to Normandy, a region in northern France. " * 40

TOKENIZER = QATokenizer.from_json(tokenizer_json())


def windows(question: str = QUESTION, context: str = CONTEXT, **lengths: Any) -> Windows:
    return TOKENIZER.windows(question, context, **lengths)


@pytest.mark.parametrize(
    ("max_seq_len", "doc_stride", "context"),
    [
        (384, 128, CONTEXT),
        (64, 16, CONTEXT),
        (64, 0, CONTEXT),
        (384, 128, "Normans."),
        (14, 2, CONTEXT),
    ],
)
def test_windows_are_those_of_the_tokenizers_library(
    max_seq_len: int, doc_stride: int, context: str
) -> None:
    reference = Tokenizer.from_str(tokenizer_json())
    reference.no_padding()
    reference.enable_truncation(max_seq_len, stride=doc_stride, strategy="only_second")
    encoding = reference.encode(QUESTION, context)

    found = windows(context=context, max_seq_len=max_seq_len, doc_stride=doc_stride)

    expected = [encoding, *encoding.overflowing]
    assert len(found) == len(expected)
    for window, each in zip(found, expected, strict=True):
        assert window.input_ids.tolist() == each.ids
        assert window.token_type_ids.tolist() == each.type_ids
        assert window.attention_mask.tolist() == each.attention_mask
        inside = [index for index, sequence in enumerate(each.sequence_ids) if sequence == 1]
        assert np.flatnonzero(window.offsets[:, 0] != OUTSIDE).tolist() == inside
        assert window.offsets[inside].tolist() == [list(each.offsets[index]) for index in inside]


def test_word_offsets_span_the_whole_word_even_where_a_window_cuts_it() -> None:
    context = "antidisestablishmentarianism " * 3
    (_, second, *_) = windows(context=context, max_seq_len=16, doc_stride=0)
    inside = second.offsets[:, 0] != OUTSIDE
    words = {context[start:end] for start, end in second.word_offsets[inside]}
    assert words == {"antidisestablishmentarianism"}


def test_a_question_longer_than_allowed_is_cut() -> None:
    (window,) = windows("what " * 500, "Normans.", max_question_len=10)
    assert window.token_type_ids.tolist().index(1) == 12


def test_a_long_question_leaves_a_smaller_overlap_and_no_error() -> None:
    found = windows("what " * 500, max_seq_len=80, doc_stride=40)
    assert len(found) > 1
    covered = {int(start) for window in found for start in window.offsets[:, 0]}
    (whole,) = windows(max_seq_len=10_000)
    assert covered == set(whole.offsets[:, 0].tolist())


def test_text_that_spells_special_tokens_stays_text() -> None:
    (window,) = windows("Is [SEP] a token?", "A [CLS] and a [SEP] and a [PAD].")
    special = {101, 102, 0}
    assert [token for token in window.input_ids.tolist() if token in special] == [101, 102, 102]


def test_characters_outside_the_basic_plane_count_as_one() -> None:
    context = "😀😀 é́ 日本 Normans"
    (window,) = windows(context=context)
    start, end = window.offsets[-2]
    assert context[end - 1] == "s"
    assert context[start:].startswith(context[start:end])


@pytest.mark.parametrize(
    ("question", "context", "error", "text"),
    [
        ("", CONTEXT, InvalidQuestionError, "question is empty"),
        (" \n", CONTEXT, InvalidQuestionError, "question is empty"),
        (None, CONTEXT, InvalidQuestionError, "type NoneType"),
        (QUESTION, "", InvalidContextError, "context is empty"),
        (QUESTION, b"bytes", InvalidContextError, "type bytes"),
        (QUESTION, "ab\ud800c", InvalidContextError, r"U\+D800, at character 2"),
        ("\udfff", CONTEXT, InvalidQuestionError, r"U\+DFFF, at character 0"),
        (QUESTION, "\x00\u200b", InvalidContextError, "nothing that the tokenizer"),
        ("\x00", CONTEXT, InvalidQuestionError, "nothing that the tokenizer"),
    ],
)
def test_what_is_not_text_is_refused(
    question: str, context: str, error: type[BertQAError], text: str
) -> None:
    with pytest.raises(error, match=text):
        windows(question, context)


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ({"max_seq_len": 0}, "max_seq_len is 0"),
        ({"doc_stride": -1}, "doc_stride is -1"),
        ({"max_question_len": 0}, "max_question_len is 0"),
        ({"max_seq_len": 64, "doc_stride": 65}, "doc_stride is 65, which is larger"),
        ({"max_seq_len": 10, "doc_stride": 2}, "no room for the context"),
    ],
)
def test_lengths_that_cannot_be_are_refused(lengths: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOptionError, match=text):
        windows(**lengths)


def test_a_megabyte_is_cut_into_windows_that_reach_its_end() -> None:
    context = "The Normans. " * 80_000
    found = windows(context=context)
    assert len(found) > 500
    assert found[-1].offsets.max() == len(context) - 1


@settings(max_examples=400, deadline=None)
@given(
    question=st.text(st.characters(), max_size=80),
    context=st.text(st.characters(), max_size=300),
    max_seq_len=st.integers(1, 80),
    doc_stride=st.integers(0, 90),
)
def test_any_text_becomes_windows_or_an_error_of_ours(
    question: str, context: str, max_seq_len: int, doc_stride: int
) -> None:
    try:
        found = windows(question, context, max_seq_len=max_seq_len, doc_stride=doc_stride)
    except BertQAError:
        return
    for window in found:
        assert len(window) <= max_seq_len
        inside = window.offsets[:, 0] != OUTSIDE
        assert inside.any()
        for offsets in (window.offsets[inside], window.word_offsets[inside]):
            assert (offsets[:, 0] >= 0).all()
            assert (offsets[:, 0] <= offsets[:, 1]).all()
            assert (offsets[:, 1] <= len(context)).all()
        assert (window.offsets[~inside] == OUTSIDE).all()


def test_a_tokenizer_is_read_from_a_file_or_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(tokenizer_json(), encoding="utf-8")
    expected = windows()[0].input_ids.tolist()
    for source in (file, tmp_path, str(file)):
        assert QATokenizer.load(source).windows(QUESTION, CONTEXT)[0].input_ids.tolist() == expected


def test_truncation_and_padding_in_a_file_are_ignored() -> None:
    baked = Tokenizer.from_str(tokenizer_json())
    baked.enable_truncation(16)
    baked.enable_padding(length=16)
    (window,) = QATokenizer.from_json(baked.to_str()).windows("Who?", "a b c " * 20)
    assert len(window) == 65


@pytest.mark.parametrize(
    "source", ["no such tokenizer!", "also/no/tokenizer", "./none", "none.json", "n" * 300, ""]
)
def test_a_source_that_is_nowhere_is_named(source: str) -> None:
    with pytest.raises(TokenizerError, match="no file or directory") as raised:
        QATokenizer.load(source)
    assert "hub" not in str(raised.value)


def test_a_tokenizer_of_the_hub_is_loaded_or_missed_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    with reading_hub({"models/owner/name": model}) as url:
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        assert QATokenizer.load("owner/name").digest == TOKENIZER.digest
        with pytest.raises(TokenizerError, match=r"'owner/none'.* hub has no tokenizer\.json"):
            QATokenizer.load("owner/none")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TokenizerError, match=r"'owner/none'.* hub at http.* cannot be reached\."):
        QATokenizer.load("owner/none")
    assert not caplog.records


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (GatedRepoError, "the hub lets in only those who have accepted its terms: log in"),
        (DisabledRepoError, r"the hub has disabled it\."),
    ],
)
def test_why_the_hub_keeps_a_tokenizer_back_is_said(
    monkeypatch: pytest.MonkeyPatch, refusal: type[HfHubHTTPError], reason: str
) -> None:
    def download(*_: object) -> str:
        asked = httpx.Request("HEAD", "https://hub.example/owner/name")
        raise refusal("403 Client Error.", response=httpx.Response(403, request=asked))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(TokenizerError, match=f"'owner/name', and {reason}") as raised:
        QATokenizer.load("owner/name")
    assert raised.value.detail == "403 Client Error."


def test_what_is_not_a_tokenizer_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(TokenizerError, match=rf"{file} .*not a valid tokenizer\.json"):
        QATokenizer.load(str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(TokenizerError, match="cannot be read: 'utf-8' codec"):
        QATokenizer.from_path(file)
    with pytest.raises(TokenizerError, match=r"missing\.json cannot be read: No such [a-z ]+\.$"):
        QATokenizer.from_path(tmp_path / "missing.json")


def test_a_tokenizer_that_does_not_join_pairs_is_refused() -> None:
    plain = json.loads(tokenizer_json())
    plain["post_processor"] = None
    with pytest.raises(TokenizerError, match="no special token between"):
        QATokenizer.from_json(json.dumps(plain))


PIECES = st.text(
    st.one_of(
        st.sampled_from(
            "ab é\u0301ßIİ\u00a0\u200d\u3000。，、日本 \n\t\r.,-'\"()\u0000\ufffd😀👩‍🚒한국"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=300,
)


@settings(max_examples=300, deadline=None)
@given(text=PIECES, length=st.integers(1, 40))
def test_a_text_in_pieces_has_the_tokens_of_the_whole_text(text: str, length: int) -> None:
    whole = TOKENIZER._encoder
    expected = whole._tokens(text, no_pace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_defaults, "LONG_TEXT", length)
        patch.setattr(_encoding, "_PIECE", length)
        found = whole._tokens(text, no_pace)
        question = whole.question(text, 7)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.word_offsets.tolist() == expected.word_offsets.tolist()
    assert question.tolist() == expected.ids[:7].tolist()


@pytest.mark.parametrize("strip_accents", [True, False, None])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("handle_chinese_chars", [True, False])
def test_pieces_are_right_whatever_the_normalizer_does(
    lowercase: bool, strip_accents: bool | None, handle_chinese_chars: bool
) -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.normalizer = BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=handle_chinese_chars
    )
    whole = Encoder(tokenizer)
    text = (
        "Rene\u0301 \u0301x, 日本、東京。ΟΔΟΣ. ΟΔΟΣ! I\u0307 İ \u1100\u1161 de\u0301ja\u0300-vu "
        * 3
    )
    expected = whole._tokens(text, no_pace)
    for length in range(1, 30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_defaults, "LONG_TEXT", length)
            patch.setattr(_encoding, "_PIECE", length)
            found = whole._tokens(text, no_pace)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.offsets.tolist() == expected.offsets.tolist()
        assert found.word_offsets.tolist() == expected.word_offsets.tolist()


def test_a_tokenizer_that_looks_across_words_gets_a_text_whole() -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.pre_tokenizer = ByteLevel()
    met = json.loads(tokenizer_json())
    met["added_tokens"].append(
        {"id": 30_522, "content": "New York", "special": False, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": True}
    )
    for each in (tokenizer, Tokenizer.from_str(json.dumps(met))):
        assert [text for _, text in Encoder(each)._pieces("New York " * 1000, no_pace)] == [
            "New York " * 1000
        ]


def test_a_text_of_ideographs_is_cut_where_each_is_a_word() -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    for split, pieces in ((True, 20), (False, 1)):
        tokenizer.normalizer = BertNormalizer(handle_chinese_chars=split)
        found = list(Encoder(tokenizer)._pieces("日本語東京" * 4_000, no_pace))
        assert len(found) == pieces


def test_work_on_a_long_text_ends_where_its_pace_says_so() -> None:
    steps = 0

    def pace() -> None:
        nonlocal steps
        steps += 1
        if steps == 20:
            raise DeadlineExceededError("It is late.")

    with pytest.raises(DeadlineExceededError):
        TOKENIZER.windows("Who?", CONTEXT * 400, pace=pace)
    assert steps == 20
    assert len(TOKENIZER.windows("Who?", CONTEXT * 400)) > 900


def test_a_long_context_that_threads_need_at_once_is_encoded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = Encoder(Tokenizer.from_str(tokenizer_json()))
    made: list[str] = []
    tokens = Encoder._tokens

    def counted(self: Encoder, text: str, pace: Pace) -> Tokens:
        made.append(text)
        return tokens(self, text, pace)

    monkeypatch.setattr(Encoder, "_tokens", counted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(encoder.context, [CONTEXT * 10] * 16))
    assert len(made) == 1
    assert all(each is found[0] for each in found)


def test_kept_contexts_have_a_limit_of_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(Tokenizer.from_str(tokenizer_json()))
    monkeypatch.setattr(_defaults, "CHARACTERS_CACHED", 3 * len(CONTEXT))
    first = encoder.context(CONTEXT)
    assert encoder.context("x" + CONTEXT) is not first
    assert encoder.context(CONTEXT) is first
    encoder.context(CONTEXT * 5)
    assert encoder.context(CONTEXT) is not first


def test_a_window_of_a_long_context_is_made_when_it_is_needed() -> None:
    found = TOKENIZER.windows("Who?", CONTEXT * 10)
    assert [found.tokens_in(index) for index in range(len(found))] == [len(each) for each in found]
    assert [each.input_ids.tolist() for each in found[3:5]] == [
        each.input_ids.tolist() for each in list(found)[3:5]
    ]
    assert found[-1].offsets.dtype == found[-1].input_ids.dtype == np.int64


ASCII = st.text(st.characters(max_codepoint=127), max_size=200)


@settings(max_examples=300, deadline=None)
@given(text=ASCII, lowercase=st.booleans(), clean_text=st.booleans())
def test_plain_texts_have_the_tokens_of_the_whole_tokenizer(
    text: str, lowercase: bool, clean_text: bool
) -> None:
    reference = PLAIN[lowercase, clean_text]
    encoding = reference.encode(text, add_special_tokens=False)
    found = Encoder(reference).context(text)
    assert found.ids.tolist() == encoding.ids
    assert list(map(tuple, found.offsets.tolist())) == encoding.offsets
    words = [encoding.word_to_chars(word) for word in encoding.word_ids if word is not None]
    assert list(map(tuple, found.word_offsets.tolist())) == words


@pytest.mark.parametrize("kept", [1, 30_000])
def test_words_of_plain_texts_are_kept_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(_encoding, "_WORDS_KEPT", kept)
    reference = PLAIN[True, True]
    plain = Encoder(reference)._plain
    assert plain is not None
    text = f"Unbelievable Normans, unbelievable Normans! {'x' * 31} {'y' * 101} 10,000"
    for _ in range(2):
        found = plain.encode(text)
        assert found is not None
        encoding = reference.encode(text, add_special_tokens=False)
        assert found.ids.tolist() == encoding.ids
        assert list(map(tuple, found.offsets.tolist())) == encoding.offsets
    assert len(plain._words) <= kept
    assert "x" * 31 not in plain._words


def _normalized(*, lowercase: bool, clean_text: bool) -> Tokenizer:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase, clean_text=clean_text)
    return tokenizer


PLAIN = {
    (lowercase, clean_text): _normalized(lowercase=lowercase, clean_text=clean_text)
    for lowercase in (True, False)
    for clean_text in (True, False)
}
