"""Windows: what the model sees at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from bertqa.artifact import INPUTS

OUTSIDE = -1
# Windows that are made at once.
_FEW = 8


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What the model sees at once: the question and a stretch of the context, not padded.

    Attributes:
        input_ids: INT64 `[tokens]`.
        token_type_ids: INT64 `[tokens]`.
        offsets: INT64 `[tokens, 2]`: where in the context each token begins and ends, in
            characters; -1 for tokens that are not of the context.
        word_offsets: INT64 `[tokens, 2]`: the same for the word that the token is part of.
        inputs: The names of the model's inputs.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    word_offsets: NDArray[np.int64]
    inputs: tuple[str, ...] = INPUTS

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def attention_mask(self) -> NDArray[np.int64]:
        """INT64 `[tokens]`: all ones, as a window holds no padding."""
        return np.ones_like(self.input_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """The tokens of a text.

    Attributes:
        ids: INT32 `[tokens]`.
        offsets: INT32 `[tokens, 2]`: where each begins and ends, in characters.
        word_offsets: INT32 `[tokens, 2]`: the same for the word that the token is part of.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    word_offsets: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Special:
    """A run of the special tokens that stand before, between, or after the two texts."""

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Where the special tokens go."""

    before: Special
    between: Special
    after: Special

    def __len__(self) -> int:
        return len(self.before.ids) + len(self.between.ids) + len(self.after.ids)


class Windows(Sequence[Window]):
    """The windows of one question and one context.

    Where there are many, each is made anew when it is needed, so that the windows of a long context
    need no more memory than its tokens do.

    Args:
        template: The special tokens.
        question_ids: INT32 `[tokens]`: the question.
        tokens: The context.
        room: How many tokens of the context a window holds at most.
        stride: How many of them neighbouring windows share; less than `room`.
        inputs: The names of the model's inputs.

    Attributes:
        inputs: The same.
    """

    def __init__(
        self,
        template: Template,
        question_ids: NDArray[np.int32],
        tokens: Tokens,
        room: int,
        stride: int,
        inputs: tuple[str, ...] = INPUTS,
    ) -> None:
        self.inputs = inputs
        before, between, after = template.before, template.between, template.after
        self._head = np.concatenate([before.ids, question_ids, between.ids])
        self._tail = after.ids
        inside_type = after.type_ids[0] if len(after.type_ids) else between.type_ids[-1]
        self._types = np.concatenate(
            [
                before.type_ids,
                np.zeros(len(question_ids), dtype=np.int64),
                between.type_ids,
                np.full(min(room, len(tokens.ids)), inside_type, dtype=np.int64),
            ]
        )
        self._tail_types = after.type_ids
        self._tokens = tokens
        self._room = room
        self._firsts = range(0, max(len(tokens.ids) - stride, 1), room - stride)
        self._made: list[Window] | None = None
        if len(self._firsts) <= _FEW:
            self._made = [self._window(first) for first in self._firsts]

    def __len__(self) -> int:
        return len(self._firsts)

    def __iter__(self) -> Iterator[Window]:
        return map(self._window, self._firsts) if self._made is None else iter(self._made)

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...

    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        if self._made is not None:
            return self._made[index]
        if isinstance(index, slice):
            return [self._window(first) for first in self._firsts[index]]
        return self._window(self._firsts[index])

    def tokens_in(self, index: int) -> int:
        """Return the number of tokens in a window, without making it.

        Args:
            index: The window's index, from 0 on.
        """
        inside = min(self._room, len(self._tokens.ids) - self._firsts[index])
        return len(self._head) + inside + len(self._tail)

    def _window(self, first: int) -> Window:
        cut = slice(first, first + self._room)
        ids = self._tokens.ids[cut]
        begin, end = len(self._head), len(self._head) + len(ids)
        offsets = np.full((2, end + len(self._tail), 2), OUTSIDE, dtype=np.int64)
        offsets[0, begin:end] = self._tokens.offsets[cut]
        offsets[1, begin:end] = self._tokens.word_offsets[cut]
        return Window(
            input_ids=np.concatenate([self._head, ids, self._tail]),
            token_type_ids=np.concatenate([self._types[:end], self._tail_types]),
            offsets=offsets[0],
            word_offsets=offsets[1],
            inputs=self.inputs,
        )
