"""From start and end logits to spans of the context: two decoders, each after a reference.

`PipelineDecoder` follows the `question-answering` pipeline of transformers 5.2.0, `SquadDecoder`
the `postprocess_qa_predictions` of its examples. docs/client.md lists what they do better:
among other things, no span begins or ends within what a reader takes for one character, although
tokenizers drop accents and joiners.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bertqa import _defaults
from bertqa._checks import Check, flag, optional, real, whole
from bertqa.qa._graphemes import whole_clusters
from bertqa.qa._windows import OUTSIDE, Window

FloatArray = NDArray[np.float32]
# Texts among which the best are looked for at once: a long context has a million of them.
_MANY_TEXTS = 1_000

_COUNT = whole(1)


class Span(NamedTuple):
    """A stretch of the context; the span from 0 to 0 says that it holds no answer.

    Attributes:
        start: Where it begins, in characters.
        end: Where it ends, in characters.
        score: How likely it is the answer, from 0 to 1.
    """

    start: int
    end: int
    score: float


class Logits(NamedTuple):
    """The logits of one window, without padding.

    Attributes:
        start: FP32 `[tokens]`: how likely an answer begins at each token.
        end: FP32 `[tokens]`: how likely an answer ends at each token.
    """

    start: FloatArray
    end: FloatArray


class Decoder(Protocol):
    """Chooses spans of a context by the logits of its windows."""

    def decode(
        self, context: str, windows: Sequence[Window], logits: Sequence[Logits], top_k: int
    ) -> list[Span]:
        """Choose the best spans.

        Args:
            context: The context.
            windows: Its windows.
            logits: The logits of each window.
            top_k: How many spans to return at most.

        Returns:
            At least one span, best first.
        """
        ...


@dataclass(frozen=True, slots=True)
class PipelineDecoder:
    """Decodes as the `question-answering` pipeline of transformers 5.2.0 does.

    Each window is scored by itself: a span's score is the product of its start's and its end's
    probability, and spans of one text, case aside, are added up. Over windows the best score of a
    text counts, so that no score is above 1.

    Attributes:
        max_answer_len: How many tokens an answer has at most; tokens of one character count once.
        align_to_words: Whether to widen an answer to whole words.
        handle_impossible_answer: Whether "no answer" competes with the spans.

    Raises:
        InvalidOptionError: A value is not valid.
    """

    max_answer_len: int = _defaults.MAX_ANSWER_LEN
    align_to_words: bool = True
    handle_impossible_answer: bool = False

    def __post_init__(self) -> None:
        _check(
            self,
            {"max_answer_len": _COUNT, "align_to_words": flag, "handle_impossible_answer": flag},
        )

    def decode(
        self, context: str, windows: Sequence[Window], logits: Sequence[Logits], top_k: int
    ) -> list[Span]:
        """Choose the best spans; see `Decoder`."""
        best: dict[str, Span] = {}
        no_answer = 1.0
        for window, window_logits in zip(windows, logits, strict=True):
            spans, window_no_answer = self._decode_window(context, window, window_logits, top_k)
            no_answer = min(no_answer, window_no_answer)
            for text, span in spans.items():
                if text not in best or span.score > best[text].score:
                    best[text] = span
            if len(best) > _MANY_TEXTS:
                least = heapq.nlargest(top_k, (span.score for span in best.values()))[-1]
                best = {text: span for text, span in best.items() if span.score >= least}
        spans_found = list(best.values())
        if self.handle_impossible_answer or not spans_found:
            spans_found.append(Span(0, 0, no_answer))
        return sorted(spans_found, key=lambda span: -span.score)[:top_k]

    def _decode_window(
        self, context: str, window: Window, logits: Logits, top_k: int
    ) -> tuple[dict[str, Span], float]:
        """Return the window's spans by their lower-cased text, and its score of "no answer"."""
        inside = np.flatnonzero(window.offsets[:, 0] != OUTSIDE)
        first, last = int(inside[0]), int(inside[-1])
        start_null, start = _probabilities(logits.start, first, last)
        end_null, end = _probabilities(logits.end, first, last)

        # Row i, column j is the span from token i to token i + j: a band beside the diagonal.
        reach = _reach(_places(window.offsets[first : last + 1]), self.max_answer_len)
        width = int(reach.max())
        padded_end = np.concatenate([end, np.zeros(width - 1, dtype=end.dtype)])
        ends = np.ndarray((len(end), width), end.dtype, padded_end, 0, 2 * padded_end.strides)
        scores = start[:, None] * ends
        if width > self.max_answer_len:
            scores[np.arange(width) >= reach[:, None]] = 0
        candidates = top_k * 2 + 10 if self.align_to_words else top_k
        offsets = window.word_offsets if self.align_to_words else window.offsets

        spans: dict[str, Span] = {}
        for index in _largest(scores.ravel(), candidates):
            token, more = divmod(index, width)
            if more >= reach[token]:
                continue
            begin = int(offsets[first + token, 0])
            stop = int(offsets[first + token + more, 1])
            if begin >= stop:
                continue
            begin, stop = whole_clusters(context, begin, stop)
            score = float(scores[token, more])
            text = context[begin:stop].lower()
            if text in spans:
                seen = spans[text]
                spans[text] = seen._replace(score=min(seen.score + score, 1.0))
            else:
                spans[text] = Span(begin, stop, score)
        return spans, start_null * end_null


@dataclass(frozen=True, slots=True)
class SquadDecoder:
    """Decodes as the standard SQuAD post-processing does; evaluation uses it.

    Spans pair the best starts of a window with its best ends, and rank by the sum of their logits;
    scores are the softmax over the best.

    Attributes:
        n_best: How many starts, ends, and spans are kept.
        max_answer_len: How many tokens an answer has at most; tokens of one character count once.
        null_score_threshold: "No answer" wins where its logits, the least over all windows, are
            above the best span's by more than this. None always answers, as SQuAD 1.1 does, unless
            no pair makes a span.

    Raises:
        InvalidOptionError: A value is not valid.
    """

    n_best: int = _defaults.SQUAD_N_BEST
    max_answer_len: int = _defaults.SQUAD_MAX_ANSWER_LEN
    null_score_threshold: float | None = None

    def __post_init__(self) -> None:
        threshold = optional(real(-math.inf))
        _check(
            self,
            {"n_best": _COUNT, "max_answer_len": _COUNT, "null_score_threshold": threshold},
        )

    def decode(
        self, context: str, windows: Sequence[Window], logits: Sequence[Logits], top_k: int
    ) -> list[Span]:
        """Choose the best spans; see `Decoder`."""
        found = [
            self._decode_window(window, window_logits)
            for window, window_logits in zip(windows, logits, strict=True)
        ]
        offsets = np.concatenate([window_offsets for window_offsets, _ in found])
        scores = np.concatenate([window_scores for _, window_scores in found])
        order = np.argsort(-scores, kind="stable")[: self.n_best]
        offsets, scores = offsets[order], scores[order]
        null_score = min(each.start[0] + each.end[0] for each in logits)
        if not len(scores):
            return [Span(0, 0, 1.0)]
        best, winner = scores[0], 0
        if self.null_score_threshold is not None:
            # "No answer" ranks among the n best, or comes after them.
            rank = int(np.count_nonzero(scores >= null_score))
            kept = max(self.n_best, rank + 1)
            offsets = np.insert(offsets, rank, 0, axis=0)[:kept]
            scores = np.insert(scores, rank, null_score)[:kept]
            no_answer_wins = float(null_score - best) > self.null_score_threshold
            winner = rank if no_answer_wins else int(rank == 0)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        spans = [
            Span(*whole_clusters(context, int(begin), int(end)), float(weight))
            for (begin, end), weight in zip(offsets, weights, strict=True)
        ]
        spans.insert(0, spans.pop(winner))
        return spans[:top_k]

    def _decode_window(
        self, window: Window, logits: Logits
    ) -> tuple[NDArray[np.int64], FloatArray]:
        """Return the offsets `[spans, 2]` and scores `[spans]` of a window's spans."""
        starts = np.argsort(logits.start)[: -self.n_best - 1 : -1]
        ends = np.argsort(logits.end)[: -self.n_best - 1 : -1]
        starts, ends = np.repeat(starts, len(ends)), np.tile(ends, len(starts))
        places = _places(window.offsets)
        valid = (
            (window.offsets[starts, 0] != OUTSIDE)
            & (window.offsets[ends, 0] != OUTSIDE)
            & (ends >= starts)
            & (places[ends] - places[starts] < self.max_answer_len)
        )
        starts, ends = starts[valid], ends[valid]
        offsets = np.stack([window.offsets[starts, 0], window.offsets[ends, 1]], axis=1)
        holds_text = offsets[:, 0] < offsets[:, 1]
        scores = logits.start[starts] + logits.end[ends]
        return offsets[holds_text], scores[holds_text]


def _places(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number tokens as `max_answer_len` counts them, `[tokens]`.

    Byte-level tokenizers make up to four tokens of one character, which share a number. One of
    white space alone ends before it begins, and has a number of its own.
    """
    begin, end = offsets.T
    goes_on = (begin[1:] == begin[:-1]) & (begin[1:] < end[:-1])
    return np.concatenate([[0], np.cumsum(~goes_on)])


def _reach(places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the number of tokens in the longest span from each token on, `[tokens]`."""
    return places.searchsorted(places + most) - np.arange(len(places))


def _probabilities(logits: FloatArray, first: int, last: int) -> tuple[float, FloatArray]:
    """Return the softmax over the first token, "no answer", and over the context's tokens."""
    kept = np.concatenate([logits[:1], logits[first : last + 1]])
    weights = np.exp(kept - kept.max())
    weights /= weights.sum()
    return float(weights[0]), weights[1:]


def _largest(values: FloatArray, count: int) -> list[int]:
    """Return the indices of the largest values, largest first, the first of equals first."""
    if count < len(values):
        least = np.partition(values, -count)[-count]
        indices = np.flatnonzero(values >= least)
    else:
        indices = np.arange(len(values))
    order = np.argsort(-values[indices], kind="stable")[:count]
    return [int(index) for index in indices[order]]


def _check(decoder: object, checks: Mapping[str, Check[Any]]) -> None:
    for name, check in checks.items():
        object.__setattr__(decoder, name, check(name, getattr(decoder, name)))
