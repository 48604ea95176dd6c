from __future__ import annotations

import itertools
import unicodedata

import numpy as np
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bertqa.errors import InvalidContextError
from bertqa.qa import (
    Answer,
    Decoder,
    Logits,
    PipelineDecoder,
    QATokenizer,
    SquadDecoder,
    cut_around,
    whole_clusters,
)
from tests.support.models import tokenizer_json

TOKENIZER = QATokenizer.from_json(tokenizer_json())
DECODERS: list[Decoder] = [
    PipelineDecoder(),
    PipelineDecoder(align_to_words=False),
    PipelineDecoder(handle_impossible_answer=True),
    SquadDecoder(),
    SquadDecoder(null_score_threshold=0.0),
]

FAMILY = "👨\u200d👩\u200d👧"
WAVE = "👋🏽"
FLAGS = "🇩🇪🇫🇷"
HANGUL = unicodedata.normalize("NFD", "각")
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
CLUSTERS = [
    *("e\u0301", "n\u0303\u0323", FAMILY, WAVE, "🇩🇪", HANGUL, ENGLAND, "❤\ufe0f", "1\ufe0f\u20e3"),
    *("क्षि", "நி", "กำ", "น้ำ", "\u0600١", "a\u200d", "x\u200c", "בּ", "\r\n", "ש\u05c1\u05bc"),
]


def edges(text: str) -> set[int]:
    return {0, *itertools.accumulate(len(each) for each in regex.findall(r"\X", text))}


@pytest.mark.parametrize("cluster", [each for each in CLUSTERS if not each.isspace()])
def test_any_part_of_a_cluster_becomes_the_whole(cluster: str) -> None:
    text = f"Ren{cluster}und {cluster}"
    assert {3, 3 + len(cluster)} <= edges(text)
    for start, end in itertools.combinations(range(len(cluster) + 1), 2):
        assert whole_clusters(text, 3 + start, 3 + end) == (3, 3 + len(cluster))
        last = len(text) - len(cluster)
        assert whole_clusters(text, last + start, last + end) == (last, len(text))


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("Rene\u0301", (0, 4), (0, 5)),
        ("Rene\u0301 Müller", (0, 4), (0, 5)),
        (FLAGS, (1, 2), (0, 2)),
        (FLAGS, (1, 3), (0, 4)),
        ("a \u0301b", (2, 4), (3, 4)),  # The accent stands on the space.
        ("a \u0301b", (0, 2), (0, 1)),
        ("a \u0301b", (0, 3), (0, 3)),
        ("a \u0301b", (2, 3), (1, 3)),  # Nothing else remains.
        ("a\r\nb", (0, 2), (0, 1)),
        ("a\r\nb", (2, 4), (3, 4)),
        ("a\u00a0\u0301b", (2, 4), (3, 4)),
        ("a b", (0, 2), (0, 2)),
        ("abc", (1, 2), (1, 2)),
        ("Re\u00adne", (0, 2), (0, 2)),
        ("e\u0301", (0, 0), (0, 0)),
    ],
)
def test_a_span_grows_to_whole_clusters_and_over_no_space(
    text: str, span: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert whole_clusters(text, *span) == expected


def test_a_cluster_of_a_megabyte_and_the_text_around_it_are_found_at_once() -> None:
    marks = "e" + "\u0301" * 1_000_000
    assert whole_clusters(marks, 500_000, 500_001) == (0, len(marks))
    flags = "\U0001f1e9" * 1_000_001
    assert whole_clusters(flags, 500_001, 500_002) == (500_000, 500_002)


texts = st.lists(
    st.sampled_from([*CLUSTERS, *"aB c.\n\u0301\u200d\u200c\ufe0f\u00ad\u200b🇫🏽\u1161\u094d"]),
    max_size=12,
).map("".join)


@given(texts, st.data())
@settings(max_examples=500)
def test_spans_of_any_text_end_at_edges_and_only_grow(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    found = whole_clusters(text, start, end)
    if start == end:
        assert found == (start, end)
        return
    assert set(found) <= edges(text)
    assert whole_clusters(text, *found) == found
    assert found == (start, end) or {start, end} - edges(text)
    if not any(each[0].isspace() for each in regex.findall(r"\X", text)):
        assert found[0] <= start
        assert found[1] >= end


@pytest.mark.parametrize("decoder", DECODERS, ids=str)
@given(context=texts, seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
@example("Rene\u0301", 0)
@example(f"{FAMILY} {WAVE}{FLAGS}", 1)
@example("\u0301\u200dRene\u0301\u200d", 2)
def test_no_decoder_cuts_a_cluster(decoder: Decoder, context: str, seed: int) -> None:
    try:
        windows = TOKENIZER.windows("Who?", context, max_seq_len=12, doc_stride=2)
    except InvalidContextError:
        return
    numbers = np.random.default_rng(seed)
    logits = [Logits(*numbers.normal(0, 5, (2, len(each))).astype(np.float32)) for each in windows]
    for span in decoder.decode(context, windows, logits, 20):
        assert {span.start, span.end} <= edges(context)
        if span.end and not any(each.isspace() for each in context):
            assert span.start < span.end


@pytest.mark.parametrize("decoder", DECODERS, ids=str)
def test_an_accent_at_the_end_of_a_name_stays(decoder: Decoder) -> None:
    context = "He is Rene\u0301"
    (window,) = TOKENIZER.windows("Who?", context)
    start, end = np.zeros((2, len(window)), dtype=np.float32)
    start[np.flatnonzero(window.offsets[:, 0] == 6)] = 20
    end[np.flatnonzero(window.offsets[:, 1] == 10)] = 20
    (span,) = decoder.decode(context, [window], [Logits(start, end)], 1)
    assert context[span.start : span.end] == "Rene\u0301"


def test_what_is_shown_around_an_answer_is_whole_too() -> None:
    context = f"{FAMILY}Rouen{FAMILY}"
    pieces = cut_around(context, [Answer("Rouen", 5, 10, 0.5, 1)], around=2)
    assert "".join(piece.text for piece in pieces) == context
