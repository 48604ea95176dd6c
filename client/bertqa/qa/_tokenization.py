"""From a question and a context to windows of tokens with their character offsets."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from bertqa import _defaults
from bertqa._checks import whole
from bertqa._reason import reason_of
from bertqa.errors import (
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    TokenizerError,
)

TOKENIZER_FILE = "tokenizer.json"
OUTSIDE = -1

_LENGTH, _OVERLAP = whole(1), whole(0)

# What ends in .json is the name of a file.
_HUB_ID = re.compile(r"(?!.*\.json$)(?:\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What the model sees at once: the question and a stretch of the context, not padded.

    Attributes:
        input_ids: INT64 `[tokens]`.
        token_type_ids: INT64 `[tokens]`.
        offsets: INT64 `[tokens, 2]`: where in the context each token begins and ends, in
            characters; -1 for tokens that are not of the context.
        word_offsets: INT64 `[tokens, 2]`: the same for the word that the token is part of.
    """

    input_ids: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    word_offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def attention_mask(self) -> NDArray[np.int64]:
        """INT64 `[tokens]`: all ones, as a window holds no padding."""
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
    """Makes windows. Safe to use from several threads.

    Args:
        tokenizer: A tokenizer of the `tokenizers` library, whose truncation, padding and handling
            of special tokens are changed.

    Raises:
        TokenizerError: The tokenizer does not join a question and a context.
    """

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
        """Return the tokenizer of the text of a `tokenizer.json`.

        Args:
            text: The text of a `tokenizer.json`.

        Returns:
            The tokenizer.

        Raises:
            TokenizerError: The text is not a valid `tokenizer.json`.
        """
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises plain Exception
            raise TokenizerError(f"The text is not a valid tokenizer.json: {error}.") from error
        return cls(tokenizer)

    @classmethod
    def from_path(cls, path: str | Path) -> QATokenizer:
        """Return the tokenizer of a `tokenizer.json`, or of a directory that holds one.

        Args:
            path: The file, or a directory that holds it.

        Returns:
            The tokenizer.

        Raises:
            TokenizerError: The file cannot be read or is not valid.
        """
        file = Path(path)
        if file.is_dir():
            file /= TOKENIZER_FILE
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(
                f"The tokenizer {file} cannot be read: {reason_of(error)}."
            ) from error
        try:
            return cls.from_json(text)
        except TokenizerError as error:
            raise TokenizerError(f"The tokenizer {file} cannot be used. {error}") from error

    @classmethod
    def load(cls, source: str | Path) -> QATokenizer:
        """Return the tokenizer of a file, a directory, or, where there is neither, a hub id.

        Args:
            source: A path, or the id of a repository on the Hugging Face hub, such as `owner/name`.

        Raises:
            TokenizerError: There is no valid tokenizer.
        """
        if isinstance(source, Path) or _exists(source):
            return cls.from_path(source)
        if not _HUB_ID.fullmatch(source):
            raise TokenizerError(
                f"Found no file or directory at {source!r}. Pass the path of a "
                f"{TOKENIZER_FILE} or of its directory."
            )
        try:
            return cls(Tokenizer.from_pretrained(source))
        except TokenizerError:
            raise
        except Exception as error:  # whatever the hub, its cache, or the network raises
            raise TokenizerError(
                f"Found no file or directory at {source!r}, and no tokenizer of that name could be "
                f"loaded from the Hugging Face hub. Pass the path of a {TOKENIZER_FILE}.",
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
        """Cut a context into windows, each of which begins with the question.

        Args:
            question: The question.
            context: The context.
            max_seq_len: The length of a window at most, in tokens.
            doc_stride: How many tokens of the context neighbouring windows share; half of the room
                for the context where the question leaves too little room for that.
            max_question_len: How many tokens of the question are kept.

        Returns:
            At least one window; together they cover the context.

        Raises:
            InvalidQuestionError: The question is empty or not a text.
            InvalidContextError: The context is empty or not a text.
            InvalidOptionError: A length is not valid, or leaves no room for the context.
        """
        max_seq_len = _LENGTH("max_seq_len", max_seq_len)
        doc_stride = _OVERLAP("doc_stride", doc_stride)
        max_question_len = _LENGTH("max_question_len", max_question_len)
        if doc_stride > max_seq_len:
            raise InvalidOptionError(
                f"doc_stride is {doc_stride}, which is larger than max_seq_len ({max_seq_len})."
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
                f"max_seq_len is {max_seq_len}, which leaves no room for the context beside a "
                f"question of {len(question_ids)} tokens and {special} special tokens."
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
        """Find where special tokens go by encoding a pair of texts."""
        sample = self._tokenizer.encode("a", "a")
        sequences = sample.sequence_ids
        if 0 not in sequences or 1 not in sequences:
            raise TokenizerError("The tokenizer does not encode the letter 'a'.")
        length = len(sequences)
        first = sequences.index(0), length - sequences[::-1].index(0)
        second = sequences.index(1), length - sequences[::-1].index(1)
        if not first[0] < first[1] < second[0]:
            raise TokenizerError(
                "The tokenizer sets no special token between question and context: its "
                "post_processor has no template for pairs, as that of a QA model has."
            )
        ids = np.array(sample.ids, dtype=np.int64)
        type_ids = np.array(sample.type_ids, dtype=np.int64)

        def run(begin: int, end: int) -> _Special:
            return _Special(ids[begin:end], type_ids[begin:end])

        return run(0, first[0]), run(first[1], second[0]), run(second[1], length)


def _exists(source: str) -> bool:
    try:
        return Path(source).exists() and bool(source)
    except OSError:  # The name is too long, say.
        return False


def check_text(
    text: Any, name: str, error: type[InvalidQuestionError | InvalidContextError]
) -> None:
    """Check that a text can be encoded.

    Args:
        text: The text.
        name: What it is, for messages.
        error: The class of the error to raise.

    Raises:
        BertQAError: Of the class `error`: it is not a string, is empty, or has a lone surrogate.
    """
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
    """Return the offsets of each token's word; a token without a word is one by itself."""
    if not len(offsets):
        return offsets
    words = np.array([OUTSIDE if word is None else word for word in encoding.word_ids])
    begins = np.ones(len(words), dtype=bool)
    begins[1:] = (words[1:] != words[:-1]) | (words[1:] == OUTSIDE)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(words)) - 1
    word = np.cumsum(begins) - 1
    return np.stack([offsets[first, 0][word], offsets[last, 1][word]], axis=1)
