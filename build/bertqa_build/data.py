"""The windows that a model learns from, and the gold answers in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from bertqa.errors import DataError
from bertqa.evaluation import GoldAnswer, SquadQuestion
from bertqa.qa import QATokenizer, Window, whole_clusters

NO_ANSWER = (0, 0)
"""The span that means that there is no answer: the [CLS] token."""

_PAD_TO_MULTIPLE_OF = 16
_BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """One window and the positions of its gold answers.

    Attributes:
        input_ids: INT32 `[tokens]`.
        token_type_ids: INT32 `[tokens]`.
        spans: The first and the last token of each gold answer that lies wholly in the window, one
            for each annotator; empty where none does.
    """

    input_ids: NDArray[np.int32]
    token_type_ids: NDArray[np.int32]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """What became of the gold answers of questions.

    Attributes:
        questions: The questions.
        windows: The windows of all of them.
        without_answer: The questions that have no answer.
        dropped: Those that are left out, because the tokenizer drops all of their answers.
        cut: Those of which no window holds an answer as a whole, which then teach nothing.
    """

    questions: int = 0
    windows: int = 0
    without_answer: int = 0
    dropped: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()


class TrainingWindows(Dataset[dict[str, Any]]):
    """Windows to train on; where a window has several gold answers, each epoch draws one.

    Args:
        windows: The windows.
        seed: Decides which answers are drawn, and the order of `sampler`.
        labels: What became of the questions that they are from.
    """

    def __init__(
        self, windows: Sequence[TrainingWindow], seed: int, labels: Labels | None = None
    ) -> None:
        self.windows = windows
        self.seed = seed
        self.labels = labels or Labels()
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # with data loaders

    @property
    def epoch(self) -> int:
        """The number of the epoch whose answers are drawn, from 0."""
        return int(self._epoch)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        window = self.windows[index]
        start, end = self._draw(window.spans, index)
        return {
            "input_ids": window.input_ids,
            "attention_mask": np.ones_like(window.input_ids),
            "token_type_ids": window.token_type_ids,
            "start_positions": start,
            "end_positions": end,
        }

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose answers are drawn.

        Args:
            epoch: The number of the epoch, from 0.
        """
        self._epoch.fill_(epoch)

    def sampler(self, batch_size: int, seed: int | None = None) -> LengthGroupedSampler:
        """Return the order in which to train on these windows; see `LengthGroupedSampler`."""
        return LengthGroupedSampler(self, batch_size, seed)

    def _draw(self, spans: tuple[tuple[int, int], ...], index: int) -> tuple[int, int]:
        if len(set(spans)) < 2:
            return spans[0] if spans else NO_ANSWER
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return spans[int(rng.integers(len(spans)))]


class LengthGroupedSampler(Sampler[int]):
    """A random order in which the windows of each batch are of similar length.

    The order depends on the seed and the epoch alone, so that a training that is resumed sees what
    it would have seen.

    Args:
        windows: The windows.
        batch_size: Windows in a batch.
        seed: Decides the order; by default that of the windows.
    """

    def __init__(self, windows: TrainingWindows, batch_size: int, seed: int | None = None) -> None:
        self.windows = windows
        self.batch_size = batch_size
        self.seed = windows.seed if seed is None else seed
        self.lengths = np.array([len(window.input_ids) for window in windows.windows])

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.windows.epoch])
        order = rng.permutation(len(self.windows))
        group = _BATCHES_SORTED_TOGETHER * self.batch_size
        for first in range(0, len(order), group):
            indices = order[first : first + group]
            indices = indices[np.argsort(self.lengths[indices], kind="stable")]
            starts = np.arange(0, len(indices), self.batch_size)
            last_is_short = len(indices) % self.batch_size != 0
            whole = starts[:-1] if last_is_short else starts
            for start in [*rng.permutation(whole), *starts[len(whole) :]]:
                yield from indices[start : start + self.batch_size].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that decides the order, and which answers the windows draw.

        Args:
            epoch: The number of the epoch, from 0.
        """
        self.windows.set_epoch(epoch)


def collate(windows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Pad windows to one length, a multiple of 16.

    Args:
        windows: Items of `TrainingWindows`, or similar ones.

    Returns:
        The tensors by name: INT64 `[batch, tokens]`, and `[batch]` for the positions.
    """
    longest = max(len(window["input_ids"]) for window in windows)
    width = -(-longest // _PAD_TO_MULTIPLE_OF) * _PAD_TO_MULTIPLE_OF
    batch = {}
    for name in windows[0]:
        values = [torch.as_tensor(window[name], dtype=torch.int64) for window in windows]
        if values[0].ndim:
            values = [functional.pad(value, (0, width - len(value))) for value in values]
        batch[name] = torch.stack(values)
    return batch


def training_windows(
    questions: Sequence[SquadQuestion],
    tokenizer_json: str,
    *,
    max_seq_len: int,
    doc_stride: int,
    max_question_len: int,
    max_windows: int | None = None,
    seed: int,
) -> TrainingWindows:
    """Cut questions and contexts into windows, as the client does, and find the gold answers.

    Args:
        questions: The questions.
        tokenizer_json: The text of the tokenizer's `tokenizer.json`.
        max_seq_len: The longest window, in tokens.
        doc_stride: The tokens that two consecutive windows share.
        max_question_len: The tokens that a question is cut to.
        max_windows: Draw this many windows; None takes all.
        seed: Decides which windows are drawn.

    Returns:
        The windows in the order of the questions, each with the spans of its gold answers.

    Raises:
        DataError: There is no question, or one is longer than a window.
    """
    tokenizer = QATokenizer.from_json(tokenizer_json)
    _require_short_questions(questions, tokenizer_json, max_seq_len)
    windows: list[TrainingWindow] = []
    dropped: list[str] = []
    cut: list[str] = []
    for question in questions:
        made = _labelled(
            question,
            tokenizer.windows(
                question.question,
                question.context,
                max_seq_len=max_seq_len,
                doc_stride=doc_stride,
                max_question_len=max_question_len,
            ),
        )
        if not made:
            dropped.append(question.id)
        elif question.answers and not any(each.spans for each in made):
            cut.append(question.id)
        windows += made
    if not windows:
        raise DataError("There is no question to train or to calibrate on.")
    without = sum(question.is_impossible for question in questions)
    labels = Labels(len(questions), len(windows), without, tuple(dropped), tuple(cut))
    if max_windows is not None and max_windows < len(windows):
        chosen = np.random.default_rng(seed).permutation(len(windows))[:max_windows]
        windows = [windows[index] for index in np.sort(chosen)]
    return TrainingWindows(windows, seed, labels)


def _require_short_questions(
    questions: Sequence[SquadQuestion], tokenizer_json: str, max_seq_len: int
) -> None:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for question in questions:
        if len(question.question) < max_seq_len:
            continue  # a token has at least one character
        tokens = len(tokenizer.encode(question.question, add_special_tokens=False))
        if tokens >= max_seq_len:
            raise DataError(
                f"The question {question.id} has {tokens} tokens; a window holds {max_seq_len} "
                f"with its context: {question.question[:60]!r}... Shorten the question, or leave "
                "it out."
            )


def _labelled(question: SquadQuestion, windows: Sequence[Window]) -> list[TrainingWindow]:
    """Return the windows, each with the first and last token of each gold answer wholly in it.

    None are returned where no gold answer holds a character that the tokenizer keeps: they would
    teach that there is no answer.
    """
    offsets = np.concatenate([window.offsets for window in windows])
    golds = [
        gold for answer in question.answers if (gold := _gold_tokens(question, answer, offsets))
    ]
    if question.answers and not golds:
        return []
    made = []
    for window in windows:
        begin, end = window.offsets.T
        spans = []
        for first, last in golds:
            # A token of white space alone ends before it begins, and is no part of an answer.
            inside = np.flatnonzero((begin >= first) & (end <= last) & (begin < end))
            if len(inside) and begin[inside[0]] == first and end[inside[-1]] == last:
                spans.append((int(inside[0]), int(inside[-1])))
        ids, types = window.input_ids.astype(np.int32), window.token_type_ids.astype(np.int32)
        made.append(TrainingWindow(ids, types, tuple(spans)))
    return made


def _gold_tokens(
    question: SquadQuestion, answer: GoldAnswer, offsets: NDArray[np.int64]
) -> tuple[int, int] | None:
    """Return where the tokens of a gold answer begin and end, None where there are none.

    The answer is taken as the client returns it, in whole grapheme clusters. What the tokenizer
    drops at its edges, such as accents, has no token.

    Args:
        question: The question.
        answer: Its gold answer.
        offsets: INT64 `[tokens, 2]`: those of all windows of the question.
    """
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    stop = start + len(answer.text.strip())
    start, stop = whole_clusters(question.context, start, stop)
    begin, end = offsets.T
    covered = offsets[(begin < stop) & (end > start)]
    return (int(covered[:, 0].min()), int(covered[:, 1].max())) if len(covered) else None
