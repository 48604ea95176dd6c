"""From a text to its tokens, in pieces where it is long.

`Tokenizer.encode` holds the interpreter's lock for as long as it takes; `encode_batch` releases it.
What it returns is turned into arrays while the lock is held, so that pieces have to be small.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain, islice
from string import punctuation

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from tokenizers.models import Model, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertqa import _defaults
from bertqa.artifact import usable_cores
from bertqa.qa._offsets import METASPACE, dividing, exact_offsets
from bertqa.qa._tokenizers import tokenizer_errors
from bertqa.qa._windows import OUTSIDE, Tokens

Pace = Callable[[], object]
"""Called between the steps of long work. It may raise an error, which ends the work."""

# What BERT's normalizer removes from a text in ASCII.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Where a text can be cut without any effect on its tokens: BERT's pre-tokenizer ends a word there.
_EDGES = r" \t\n\r!-/:-@\[-`{-~\u3000-\u3002\uff0c"
_EDGE = re.compile(f"[{_EDGES}]")
# BERT's normalizer makes a word of each ideograph, unless it is told not to.
_EDGE_OR_IDEOGRAPH = re.compile(rf"[{_EDGES}\u3400-\u4dbf\u4e00-\u9fff]")
# A word of a text in ASCII, as BERT's pre-tokenizer finds it, and what each character is of it.
_WORD = re.compile(r"[!-/:-@\[-`{-~]|[0-9A-Za-z]+")
_SPACE, _MARK, _LETTER = range(3)
_KINDS = np.array(
    [
        _LETTER if chr(code).isalnum() else _MARK if chr(code) in punctuation else _SPACE
        for code in range(128)
    ],
    dtype=np.uint8,
)
# Words whose tokens are kept: some megabytes.
_WORDS_KEPT = 30_000
_LONGEST_WORD_KEPT = 30
# Characters of a piece of a long text. Many that are so short are plain: see `_Plain`.
_PIECE = 1_000
_MOST_PIECES_AT_ONCE = 8
# Characters that are searched for such an edge in one step.
_SEARCHED_AT_ONCE = 100_000
# How often a thread that waits for another one looks at the deadline, in seconds.
_LOOK_SECONDS = 0.02
_IN_NO_VOCABULARY = "\U00012000"  # A cuneiform sign.
_CANNOT_ENCODE = "The tokenizer cannot encode the text"


def no_pace() -> None:
    """Let work that is short run to its end."""


class Encoder:
    """Makes tokens of texts, without special tokens. Safe to use from several threads.

    The tokens of the last few contexts are kept. A long context that several threads need at once
    is encoded by one of them.

    Args:
        tokenizer: The tokenizer, whose truncation, padding and handling of special tokens are
            changed.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # Text that spells out a special token stays text: it cannot fake the model's structure.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        # Other tokenizers may look across the edges of words; theirs is one piece.
        self._can_cut = (
            isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
            and (tokenizer.normalizer is None or isinstance(tokenizer.normalizer, BertNormalizer))
            and all(token.special for token in tokenizer.get_added_tokens_decoder().values())
        )
        is_plain = self._can_cut and isinstance(tokenizer.model, WordPiece)
        self._plain = _Plain(tokenizer) if is_plain else None
        splits = isinstance(tokenizer.normalizer, BertNormalizer)
        splits = splits and tokenizer.normalizer.handle_chinese_chars
        self._edge = _EDGE_OR_IDEOGRAPH if splits else _EDGE
        self._metaspace = tokenizer.token_to_id(METASPACE)
        self._special, self._unknown = _special_and_unknown(tokenizer)
        self._kept = _Kept()

    def question(self, text: str, limit: int, pace: Pace = no_pace) -> NDArray[np.int32]:
        """Return the first tokens of a text.

        Args:
            text: The text.
            limit: How many tokens to return at most.
            pace: See `Pace`.

        Returns:
            INT32 `[tokens]`.
        """
        found: list[int] = []
        with tokenizer_errors(_CANNOT_ENCODE):
            for piece in self._encoded(text, pace):
                found += piece.ids[: limit - len(found)].tolist()
                if len(found) == limit:
                    break
            return np.array(found, dtype=np.int32)

    def context(self, text: str, pace: Pace = no_pace) -> Tokens:
        """Return the tokens of a text.

        Args:
            text: The text.
            pace: See `Pace`.
        """
        with tokenizer_errors(_CANNOT_ENCODE):
            return self._kept.get(text, lambda: self._tokens(text, pace), pace)

    def _tokens(self, text: str, pace: Pace) -> Tokens:
        pieces = []
        for piece in self._encoded(text, pace):
            pieces.append(piece)
            pace()
        if len(pieces) == 1:
            return pieces[0]
        length = sum(len(piece.ids) for piece in pieces)
        # Memory is new where it is written first, which takes time: `full` does it without the
        # interpreter's lock, which copying short pieces holds.
        tokens = Tokens(
            np.full(length, OUTSIDE, dtype=np.int32),
            np.full((length, 2), OUTSIDE, dtype=np.int32),
            np.full((length, 2), OUTSIDE, dtype=np.int32),
        )
        end = length
        while pieces:
            pace()
            piece = pieces.pop()
            cut = slice(end - len(piece.ids), end)
            tokens.ids[cut] = piece.ids
            tokens.offsets[cut] = piece.offsets
            tokens.word_offsets[cut] = piece.word_offsets
            end = cut.start
        return tokens

    def _tokens_of(self, text: str, encoding: Encoding) -> Tokens:
        ids = self._plain_ids(encoding.ids)
        count = len(ids)
        flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int32, 2 * count)
        offsets = flat.reshape(-1, 2)
        # BERT's words have no white space at their edges, and in ASCII no punctuation either.
        if not self._can_cut:
            offsets = exact_offsets(text, offsets, ids == self._metaspace)
        is_plain = self._can_cut and text.isascii()
        words = _word_offsets(encoding, offsets, None if is_plain else dividing(text, offsets))
        return Tokens(ids, offsets, words)

    def _plain_ids(self, ids: list[int]) -> NDArray[np.int32]:
        """Return the ids of a text's tokens, none of which is special.

        A unigram model has special tokens among its pieces, and finds them in a text too.
        """
        found = np.array(ids, dtype=np.int32)
        if self._unknown is not None and not self._can_cut:
            found[np.isin(found, self._special)] = self._unknown
        return found

    def _encoded(self, text: str, pace: Pace) -> Iterator[Tokens]:
        """Yield the tokens of each piece of a text."""
        if len(text) <= _defaults.LONG_TEXT:
            yield self._plain_tokens(text) or self._tokens_of(
                text, self._tokenizer.encode(text, add_special_tokens=False)
            )
            return
        pieces = self._pieces(text, pace)
        while some := list(islice(pieces, _pieces_at_once())):
            plain = []
            for _, piece in some:
                pace()
                plain.append(self._plain_tokens(piece))
            others = [piece for (_, piece), found in zip(some, plain, strict=True) if not found]
            encodings = iter(self._tokenizer.encode_batch(others, add_special_tokens=False))
            for (first, piece), found in zip(some, plain, strict=True):
                tokens = found or self._tokens_of(piece, next(encodings))
                yield Tokens(tokens.ids, tokens.offsets + first, tokens.word_offsets + first)

    def _plain_tokens(self, text: str) -> Tokens | None:
        return None if self._plain is None else self._plain.encode(text)

    def _pieces(self, text: str, pace: Pace) -> Iterator[tuple[int, str]]:
        """Yield where each piece of a text begins, with the piece."""
        begin, looked = 0, _PIECE if self._can_cut else len(text)
        while looked < len(text):
            pace()
            edge = self._edge.search(text, looked, looked + _SEARCHED_AT_ONCE)
            if edge is None:
                looked += _SEARCHED_AT_ONCE
                continue
            yield begin, text[begin : edge.start()]
            begin = edge.start()
            looked = begin + _PIECE
        yield begin, text[begin:]


class _Plain:
    """Encodes texts of which BERT's normalizer changes nothing but the case, in less time.

    Such a text is its words, and what a word is made of is looked up where it was met before.

    Args:
        tokenizer: A tokenizer with a WordPiece model, BERT's pre-tokenizer, and BERT's normalizer
            or none.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        normalizer = tokenizer.normalizer
        self._lowers = normalizer is not None and normalizer.lowercase
        self._words = _Words(tokenizer.model)

    def encode(self, text: str) -> Tokens | None:
        """Return the tokens of a text, None where it needs the normalizer."""
        if not text.isascii() or _CONTROL.search(text):
            return None
        kinds = _KINDS[np.frombuffer(text.encode(), dtype=np.uint8)]
        begins = kinds != _SPACE
        begins[1:] &= (kinds[1:] == _MARK) | (kinds[1:] != kinds[:-1])
        words = _WORD.findall(text.lower() if self._lowers else text)
        parts = [self._words[word] for word in words]
        lengths = np.fromiter(map(len, words), np.int32, len(words))
        counts = np.fromiter(map(len, parts), np.int32, len(parts)) // 3
        flat = np.fromiter(chain.from_iterable(parts), np.int32).reshape(-1, 3)
        starts = np.flatnonzero(begins).astype(np.int32)
        firsts = np.repeat(starts, counts)
        return Tokens(
            np.ascontiguousarray(flat[:, 0]),
            flat[:, 1:] + firsts[:, None],
            np.stack([firsts, np.repeat(starts + lengths, counts)], axis=1),
        )


class _Words(dict[str, tuple[int, ...]]):
    """What words are made of: for each token its id, and where in the word it begins and ends."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, word: str) -> tuple[int, ...]:
        parts = tuple(
            number for token in self._model.tokenize(word) for number in (token.id, *token.offsets)
        )
        if len(word) <= _LONGEST_WORD_KEPT:
            if len(self) >= _WORDS_KEPT:
                self.clear()
            self[word] = parts
        return parts


class _Kept:
    """The tokens of the last few contexts, whose lengths together are limited."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[object, tuple[str, Tokens]] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()
        self._under_way: dict[object, threading.Lock] = {}

    def get(self, text: str, make: Callable[[], Tokens], pace: Pace) -> Tokens:
        """Return the tokens of a text, which are made where they are not kept."""
        # Hashing a long text takes longer than comparing it with another one.
        is_long = len(text) > _defaults.LONG_TEXT
        key = (len(text), text[:64], text[-64:]) if is_long else text
        if not is_long:
            return self._found(key, text) or self._keep(key, text, make())
        with self._lock:
            making = self._under_way.setdefault(key, threading.Lock())
        while not making.acquire(timeout=_LOOK_SECONDS):
            pace()
        try:
            return self._found(key, text) or self._keep(key, text, make())
        finally:
            with self._lock:
                self._under_way.pop(key, None)
            making.release()

    def _found(self, key: object, text: str) -> Tokens | None:
        with self._lock:
            kept = self._tokens.get(key)
            if kept is None or kept[0] != text:
                return None
            self._tokens.move_to_end(key)
            return kept[1]

    def _keep(self, key: object, text: str, tokens: Tokens) -> Tokens:
        with self._lock:
            replaced = self._tokens.pop(key, None)
            self._characters += len(text) - (0 if replaced is None else len(replaced[0]))
            self._tokens[key] = text, tokens
            while (
                len(self._tokens) > _defaults.CONTEXTS_CACHED
                or self._characters > _defaults.CHARACTERS_CACHED
            ):
                _, (left, _) = self._tokens.popitem(last=False)
                self._characters -= len(left)
        return tokens


@functools.cache
def _pieces_at_once() -> int:
    # A core is left to the other threads, such as that of an event loop.
    return min(_MOST_PIECES_AT_ONCE, max(1, usable_cores() - 1))


def _special_and_unknown(tokenizer: Tokenizer) -> tuple[NDArray[np.int32], int | None]:
    """Return the special tokens, and the one that stands for text that the vocabulary lacks."""
    ids = tokenizer.encode(_IN_NO_VOCABULARY, add_special_tokens=False).ids
    unknown = ids[-1] if ids else None
    added = tokenizer.get_added_tokens_decoder()
    special = {number for number, token in added.items() if token.special}
    return np.array(sorted(special - {unknown}), dtype=np.int32), unknown


def _word_offsets(
    encoding: Encoding, offsets: NDArray[np.int32], divided: NDArray[np.bool_] | None
) -> NDArray[np.int32]:
    """Return the offsets of each token's word; a token without a word is one by itself.

    So is one of white space alone: a span that ends there does not reach the word behind it.

    Args:
        encoding: The tokens.
        offsets: INT32 `[tokens, 2]`.
        divided: Whether a word ends before each token, whatever the tokenizer takes for a word,
            `[tokens]`; None where it always ends words so.
    """
    count = len(offsets)
    if not count:
        return offsets
    word_ids = encoding.word_ids
    if None in word_ids:
        word_ids = [OUTSIDE if word is None else word for word in word_ids]
    words = np.array(word_ids, dtype=np.int32)
    begins = np.empty(count, dtype=bool)
    begins[0] = True
    np.not_equal(words[1:], words[:-1], out=begins[1:])
    begins |= words == OUTSIDE
    if divided is not None:
        begins |= divided
    first = np.flatnonzero(begins)
    last = np.empty_like(first)
    last[:-1] = first[1:] - 1
    last[-1] = count - 1
    word = np.cumsum(begins) - 1
    found = np.empty((count, 2), dtype=np.int32)
    found[:, 0] = offsets[first, 0][word]
    found[:, 1] = offsets[last, 1][word]
    white = offsets[:, 0] >= offsets[:, 1]
    found[white] = offsets[white]
    return found
