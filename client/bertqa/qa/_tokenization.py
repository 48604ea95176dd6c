"""From a question and a context to windows of tokens, and back to characters."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from bertqa import _defaults
from bertqa.errors import (
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    TokenizerError,
)

TOKENIZER_FILE = "tokenizer.json"
OUTSIDE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What the model sees at once: the question and a stretch of the context, not padded.

    `input_ids` and `token_type_ids` are INT64 `[tokens]`. `offsets` and `word_offsets` are INT64
    `[tokens, 2]`: where in the caller's context a token, or the word that it is part of, begins and
    ends, in characters; -1 for tokens that are not of the context.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    word_offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def attention_mask(self) -> NDArray[np.int64]:
        """INT64 `[tokens]`: one for every token, for a window holds no padding."""
        return np.ones_like(self.input_ids)


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    word_offsets: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Special:
    """A run of the special tokens that stand before, between, or after the two texts."""

    ids: NDArray[np.int64]
    type_ids: NDArray[np.int64]


class QATokenizer:
    """A tokenizer that makes windows; safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # Text that spells out a special token stays text: it cannot fake the model's structure.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._template = self._learn_template()
        self._context_tokens = functools.lru_cache(_defaults.CONTEXTS_CACHED)(self._tokens)

    @classmethod
    def from_json(cls, text: str) -> QATokenizer:
        """Read the text of a `tokenizer.json`. Raises TokenizerError where it is none."""
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises plain Exception
            raise TokenizerError(f"This is no tokenizer.json: {error}.") from error
        return cls(tokenizer)

    @classmethod
    def from_path(cls, path: str | Path) -> QATokenizer:
        """Read a `tokenizer.json`, or the one in a directory. Raises TokenizerError."""
        file = Path(path)
        if file.is_dir():
            file /= TOKENIZER_FILE
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(f"The tokenizer {file} cannot be read: {error}.") from error
        return cls.from_json(text)

    @classmethod
    def load(cls, source: str | Path) -> QATokenizer:
        """Read a file, a directory, or, where there is neither, a Hugging Face hub id.

        Raises TokenizerError naming what was tried.
        """
        if isinstance(source, Path) or Path(source).exists():
            return cls.from_path(source)
        try:
            return cls(Tokenizer.from_pretrained(source))
        except TokenizerError:
            raise
        except Exception as error:  # whatever the hub, its cache, or the network raises
            raise TokenizerError(
                f"There is no file or directory {source!r}, and the Hugging Face hub gives no "
                f"tokenizer of that name. Pass the path of a {TOKENIZER_FILE}.",
                detail=str(error),
            ) from error

    def windows(
        self,
        question: str,
        context: str,
        *,
        max_seq_len: int = _defaults.MAX_SEQ_LEN,
        doc_stride: int = _defaults.DOC_STRIDE,
        max_question_len: int = _defaults.MAX_QUESTION_LEN,
    ) -> list[Window]:
        """Cut a context into windows of at most `max_seq_len` tokens.

        The question, cut to its first `max_question_len` tokens, leads each window; neighbours
        share `doc_stride` tokens of the context, or half of the room where the question leaves too
        little room for that. All three are in tokens.

        Raises InvalidQuestionError, InvalidContextError, and InvalidOptionError.
        """
        for name, value, least in (
            ("max_seq_len", max_seq_len, 1),
            ("doc_stride", doc_stride, 0),
            ("max_question_len", max_question_len, 1),
        ):
            if value < least:
                raise InvalidOptionError(f"{name} is {value}, but it has to be {least} or more.")
        if doc_stride > max_seq_len:
            raise InvalidOptionError(
                f"doc_stride ({doc_stride}) is larger than max_seq_len ({max_seq_len})."
            )
        check_text(question, "question", InvalidQuestionError)
        check_text(context, "context", InvalidContextError)

        question_ids = self._tokens(question).ids[:max_question_len]
        if not len(question_ids):
            raise InvalidQuestionError(
                f"The question {question!r} holds nothing that the tokenizer makes a token of."
            )
        tokens = self._context_tokens(context)
        if not len(tokens.ids):
            raise InvalidContextError(
                "The context holds nothing that the tokenizer makes a token of: only white space "
                "or control characters."
            )
        before, between, after = self._template
        special = len(before.ids) + len(between.ids) + len(after.ids)
        room = max_seq_len - special - len(question_ids)
        if room < 1:
            raise InvalidOptionError(
                f"max_seq_len ({max_seq_len}) leaves no room for the context beside a question of "
                f"{len(question_ids)} tokens and {special} special tokens."
            )
        stride = doc_stride if doc_stride < room else room // 2
        return list(self._cut(question_ids, tokens, room, stride))

    def _cut(
        self, question_ids: NDArray[np.int64], tokens: _Tokens, room: int, stride: int
    ) -> Iterator[Window]:
        before, between, after = self._template
        head = np.concatenate([before.ids, question_ids, between.ids])
        head_types = np.concatenate([before.type_ids, 0 * question_ids, between.type_ids])
        context_type = after.type_ids[0] if len(after.type_ids) else between.type_ids[-1]
        for first in range(0, max(len(tokens.ids) - stride, 1), room - stride):
            cut = slice(first, first + room)
            ids = tokens.ids[cut]
            types = np.full_like(ids, context_type)
            inside = slice(len(head), len(head) + len(ids))
            length = len(head) + len(ids) + len(after.ids)
            offsets = np.full((2, length, 2), OUTSIDE, dtype=np.int64)
            offsets[0, inside] = tokens.offsets[cut]
            offsets[1, inside] = tokens.word_offsets[cut]
            yield Window(
                input_ids=np.concatenate([head, ids, after.ids]),
                token_type_ids=np.concatenate([head_types, types, after.type_ids]),
                offsets=offsets[0],
                word_offsets=offsets[1],
            )

    def _tokens(self, text: str) -> _Tokens:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        return _Tokens(
            ids=np.array(encoding.ids, dtype=np.int64),
            offsets=offsets,
            word_offsets=_word_offsets(encoding, offsets),
        )

    def _learn_template(self) -> tuple[_Special, _Special, _Special]:
        """See where special tokens go by encoding a pair of texts."""
        sample = self._tokenizer.encode("a", "a")
        sequences = sample.sequence_ids
        if 0 not in sequences or 1 not in sequences:
            raise TokenizerError("The tokenizer does not encode the letter 'a'.")
        length = len(sequences)
        first = sequences.index(0), length - sequences[::-1].index(0)
        second = sequences.index(1), length - sequences[::-1].index(1)
        if not first[0] < first[1] < second[0]:
            raise TokenizerError(
                "The tokenizer sets no special token between question and context (its "
                "post_processor has no template for pairs): it is no tokenizer of a QA model."
            )
        ids = np.array(sample.ids, dtype=np.int64)
        type_ids = np.array(sample.type_ids, dtype=np.int64)

        def run(begin: int, end: int) -> _Special:
            return _Special(ids[begin:end], type_ids[begin:end])

        return run(0, first[0]), run(first[1], second[0]), run(second[1], length)


def check_text(
    text: Any, name: str, error: type[InvalidQuestionError | InvalidContextError]
) -> None:
    """Refuse what is no text with anything in it, raising `error`."""
    if not isinstance(text, str):
        raise error(f"The {name} has to be a str, but it is of type {type(text).__name__}.")
    if not text or text.isspace():
        raise error(f"The {name} is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as surrogate:
        raise error(
            f"The {name} has a lone surrogate, U+{ord(text[surrogate.start]):04X}, at character "
            f"{surrogate.start}: it was decoded wrongly."
        ) from surrogate


def _word_offsets(encoding: Encoding, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each token the offsets of its word; a token of no word is one by itself."""
    if not len(offsets):
        return offsets
    words = np.array([OUTSIDE if word is None else word for word in encoding.word_ids])
    begins = np.ones(len(words), dtype=bool)
    begins[1:] = (words[1:] != words[:-1]) | (words[1:] == OUTSIDE)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(words)) - 1
    word = np.cumsum(begins) - 1
    return np.stack([offsets[first, 0][word], offsets[last, 1][word]], axis=1)
