from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bertqa.errors import InvalidContextError, InvalidOptionError
from bertqa.qa import Decoder, Logits, PipelineDecoder, QATokenizer, Span, SquadDecoder, Window
from bertqa.qa._windows import OUTSIDE
from tests.support.models import tokenizer_json

GOLDEN = Path(__file__).parent / "golden"
TOKENIZER = QATokenizer.from_json(tokenizer_json())


@dataclass(frozen=True)
class Case:
    context: str
    windows: Sequence[Window]
    logits: list[Logits]
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def cases(golden: dict[str, Any]) -> list[Case]:
    with np.load(GOLDEN / "logits.npz") as stored:
        ends = np.cumsum(stored["lengths"])[:-1]
        logits = iter(np.split(stored["logits"].astype(np.float32), ends, axis=1))
    return list(_cases(golden, logits))


def _cases(golden: dict[str, Any], logits: Iterator[NDArray[np.float32]]) -> Iterator[Case]:
    for case in golden["cases"]:
        context = golden["contexts"][case["context"]]
        windows = TOKENIZER.windows(case["question"], context, **case["lengths"])
        yield Case(context, windows, [Logits(*next(logits)) for _ in windows], case)


def test_the_golden_files_hold_enough_of_every_kind(cases: list[Case]) -> None:
    impossible = sum(case.expected["impossible"] for case in cases)
    assert len(cases) - impossible >= 250
    assert impossible >= 250
    assert sum(len(case.windows) > 1 for case in cases) >= 100


def test_windows_are_those_of_the_reference(cases: list[Case]) -> None:
    for case in cases:
        sums = [int(window.input_ids.sum()) for window in case.windows]
        assert sums == case.expected["input_ids_sum"]


def assert_same(found: list[Span], expected: list[list[Any]], case: Case) -> None:
    """Logits rounded to FP16 make ties, whose order is open: equal scores may change places."""
    scores = [score for *_, score in expected]
    assert [span.score for span in found] == pytest.approx(scores, rel=1e-5, abs=1e-12)
    above_last = scores[-1] * (1 + 1e-5)
    assert {span[:2] for span in found if span.score > above_last} == {
        (start, end) for start, end, score in expected if score > above_last
    }, case.expected["question"]


@pytest.mark.parametrize("variant", ["default", "tokens", "impossible"])
def test_one_window_is_decoded_as_the_pipeline_does(
    golden: dict[str, Any], cases: list[Case], variant: str
) -> None:
    decoder = PipelineDecoder(**golden["variants"][variant])
    for case in cases:
        alone = case.expected["pipeline_windows"]
        expected = [case.expected["pipeline"][variant]] if alone is None else alone[variant]
        for window, logits, answers in zip(case.windows, case.logits, expected, strict=True):
            found = decoder.decode(case.context, [window], [logits], golden["top_k"])
            assert_same(found, _widened(answers, window, decoder), case)


def _widened(answers: list[list[Any]], window: Window, decoder: PipelineDecoder) -> list[list[Any]]:
    """Widen to whole words what the pipeline cuts where a window begins or ends within one."""
    if not decoder.align_to_words:
        return answers
    begins = dict(zip(window.offsets[:, 0], window.word_offsets[:, 0], strict=True))
    ends = dict(zip(window.offsets[:, 1], window.word_offsets[:, 1], strict=True))
    return [
        [int(begins[start]), int(ends[end]), score] if end else [0, 0, score]
        for start, end, score in answers
    ]


@pytest.mark.parametrize("variant", ["default", "tokens", "impossible"])
def test_several_windows_yield_the_best_of_each_text(
    golden: dict[str, Any], cases: list[Case], variant: str
) -> None:
    decoder = PipelineDecoder(**golden["variants"][variant])
    agreeing, several = 0, [case for case in cases if len(case.windows) > 1]
    for case in several:
        found = decoder.decode(case.context, case.windows, case.logits, golden["top_k"])
        assert all(0 <= span.score <= 1 for span in found)
        best: dict[str, float] = {}
        for window, logits in zip(case.windows, case.logits, strict=True):
            for span in decoder.decode(case.context, [window], [logits], golden["top_k"]):
                if span.end:
                    text = case.context[span.start : span.end].lower()
                    best[text] = max(best.get(text, 0.0), span.score)
        for span in found:
            if span.end:
                text = case.context[span.start : span.end].lower()
                assert span.score == pytest.approx(best[text])
        start, end, _ = case.expected["pipeline"][variant][0]
        agreeing += case.context[start:end] == case.context[found[0].start : found[0].end]
    assert agreeing / len(several) > 0.9


@pytest.mark.parametrize(("name", "threshold"), [("squad", None), ("squad_2", 0.0)])
def test_squad_decoding_is_that_of_the_reference(
    cases: list[Case], name: str, threshold: float | None
) -> None:
    decoder = SquadDecoder(null_score_threshold=threshold)
    for case in cases:
        found = decoder.decode(case.context, case.windows, case.logits, top_k=3)
        texts = [case.context[span.start : span.end] for span in found]
        expected = case.expected[name]
        assert texts[0] == expected["text"], case.expected["question"]
        assert texts == [text for text, _ in expected["best"]]
        assert [span.score for span in found] == pytest.approx(
            [probability for _, probability in expected["best"]], rel=1e-4, abs=1e-7
        )


def test_the_null_threshold_moves_the_decision(cases: list[Case]) -> None:
    def answered(threshold: float) -> int:
        decoder = SquadDecoder(null_score_threshold=threshold)
        return sum(
            decoder.decode(case.context, case.windows, case.logits, 1)[0].end > 0
            for case in cases[:100]
        )

    assert answered(-50.0) == 0
    assert answered(-1e308) == 0
    assert 0 < answered(0.0) < answered(6.0) < answered(50.0) == 100


CONTEXT = "the cat sat and The Cat ran away from it, unhappily so."


def window_and_logits(**peaks: Any) -> tuple[Sequence[Window], list[Logits]]:
    """One window of CONTEXT, with a pair of raised logits for each span of tokens."""
    windows = TOKENIZER.windows("who?", CONTEXT)
    first = int(np.flatnonzero(windows[0].offsets[:, 0] != OUTSIDE)[0])
    start, end = np.zeros((2, len(windows[0])), dtype=np.float32)
    for begin, stop, height in peaks.values():
        start[first + begin] += height
        end[first + stop] += height
    return windows, [Logits(start, end)]


def texts(decoder: Decoder, top_k: int, **peaks: Any) -> list[str]:
    spans = decoder.decode(CONTEXT, *window_and_logits(**peaks), top_k)
    return [CONTEXT[span.start : span.end] for span in spans]


def test_an_answer_within_a_word_is_widened_by_default() -> None:
    (window,), _ = window_and_logits()
    inside = window.offsets[:, 0] != OUTSIDE
    tokens = [CONTEXT[start:end] for start, end in window.offsets[inside]]
    (first, *_, last) = [index for index, token in enumerate(tokens) if token in "unhappily"]
    assert first < last
    peak = {"inner": (last, last, 20.0)}
    assert texts(PipelineDecoder(), 1, **peak) == ["unhappily"]
    assert texts(PipelineDecoder(align_to_words=False), 1, **peak) == [tokens[last]]


def test_answers_of_one_text_are_added_up_case_aside() -> None:
    twice = {"first": (0, 1, 9.0), "second": (4, 5, 9.0)}
    spans = PipelineDecoder().decode(CONTEXT, *window_and_logits(**twice), 2)
    assert CONTEXT[spans[0].start : spans[0].end] == "the cat"
    assert spans[0].score == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "decoder", [PipelineDecoder(max_answer_len=2), SquadDecoder(max_answer_len=2)]
)
def test_no_answer_is_longer_than_allowed(decoder: Decoder) -> None:
    peaks = {"long": (0, 6, 20.0), "short": (2, 3, 10.0)}
    assert all(len(text.split()) <= 2 for text in texts(decoder, 5, **peaks))


def test_without_any_pair_that_makes_a_span_there_is_no_answer() -> None:
    backwards = {"start": (6, 6, 0.0)}
    windows, (logits,) = window_and_logits(**backwards)
    first = int(np.flatnonzero(windows[0].offsets[:, 0] != OUTSIDE)[0])
    logits.start[first + 6] = 20
    logits.end[first + 2] = 20
    assert SquadDecoder(n_best=1).decode(CONTEXT, windows, [logits], 3) == [Span(0, 0, 1.0)]


@settings(max_examples=150, deadline=None)
@given(
    context=st.text(min_size=1, max_size=200).filter(lambda text: bool(text.strip())),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    top_k=st.integers(1, 40),
)
def test_whatever_the_logits_every_span_is_sound(
    context: str, seed: int, scale: float, top_k: int
) -> None:
    try:
        windows = TOKENIZER.windows("who?", context, max_seq_len=24, doc_stride=8)
    except InvalidContextError:
        return
    rng = np.random.default_rng(seed)
    logits = [
        Logits(*(rng.normal(size=(2, len(window))) * scale).astype(np.float32))
        for window in windows
    ]
    decoders: list[Decoder] = [
        PipelineDecoder(handle_impossible_answer=impossible, align_to_words=aligned)
        for impossible, aligned in itertools.product([False, True], repeat=2)
    ]
    for decoder in [*decoders, SquadDecoder(), SquadDecoder(null_score_threshold=0.0)]:
        spans = decoder.decode(context, windows, logits, top_k)
        assert 1 <= len(spans) <= top_k
        for span in spans:
            assert 0 <= span.start <= span.end <= len(context)
            assert 0 <= span.score <= 1.000001
            assert span.start < span.end or span[:2] == (0, 0)


@pytest.mark.parametrize(
    "make", [lambda: PipelineDecoder(max_answer_len=0), lambda: SquadDecoder(n_best=0)]
)
def test_numbers_that_cannot_be_are_refused(make: Any) -> None:
    with pytest.raises(InvalidOptionError, match="is 0"):
        make()
