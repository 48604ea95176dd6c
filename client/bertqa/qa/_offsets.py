"""Where each token and its word stand in a text, in characters, whatever the tokenizer."""

from __future__ import annotations

import functools
import re
import string
import unicodedata

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int32]
METASPACE = "\u2581"
"""What a unigram model writes for a space, also for the one that it adds before a text."""

# Thai, Lao, Tibetan, Burmese, Khmer, Chinese and Japanese: no space stands between two words.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff]"
)
# What belongs to the character before it, beside the marks: vowels of Thai and Lao, and signs of
# half-width katakana.
_ATTACHED = frozenset("\u0e33\u0eb3\uff9e\uff9f")


def exact_offsets(text: str, offsets: Offsets, is_space: NDArray[np.bool_]) -> Offsets:
    """Return offsets without white space at their edges.

    Byte-level tokens contain the space before a word, and a unigram model's first token may be a
    space that the text does not have. A token of white space alone begins after it and ends before
    it, so that no span from one token to another has white space at its edges.

    Args:
        text: The text.
        offsets: INT32 `[tokens, 2]`, as the tokenizer reports them.
        is_space: Whether each token is one `METASPACE` alone, `[tokens]`.

    Returns:
        INT32 `[tokens, 2]`.
    """
    if not len(offsets):
        return offsets
    characters = _code_points(text)
    begin, end = offsets.T
    last = len(text) - 1
    first_character = characters[np.minimum(begin, last)]
    if is_space.any():
        added = is_space & ~_is_white(first_character) & (first_character != ord(METASPACE))
        end = np.where(added, begin, end)
    edges = np.concatenate([first_character, characters[np.maximum(end - 1, 0)]])
    if _is_white(edges).any():
        solid = np.flatnonzero(~_is_white(characters))
        after = np.append(solid, len(text))
        before = np.insert(solid + 1, 0, 0)
        begin, end = after[solid.searchsorted(begin)], before[solid.searchsorted(end)]
    return np.stack([begin, end], axis=1).astype(np.int32)


def dividing(text: str, offsets: Offsets) -> NDArray[np.bool_]:
    """Return whether a word ends before each token by the characters around.

    What the tokenizer calls a word may be a whole sentence where no spaces are written, and may
    have punctuation at its end. So a word also ends between two tokens where a character on either
    side is punctuation, or of a script without spaces.

    Args:
        text: The text.
        offsets: INT32 `[tokens, 2]`, what `exact_offsets` returned.

    Returns:
        `[tokens]`.
    """
    divided = np.zeros(len(offsets), dtype=bool)
    if len(offsets) > 1:
        characters = _code_points(text)
        before = characters[np.maximum(offsets[:-1, 1] - 1, 0)]
        after = characters[np.minimum(offsets[1:, 0], len(text) - 1)]
        divided[1:] = (_divides(before) | _divides(after)) & ~_is_attached(after)
    return divided


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _is_white(characters: NDArray[np.uint32]) -> NDArray[np.bool_]:
    return np.isin(characters, _white_space())


@functools.cache
def _white_space() -> NDArray[np.uint32]:
    return np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)


def _divides(characters: NDArray[np.uint32]) -> NDArray[np.bool_]:
    codes, index = np.unique(characters, return_inverse=True)
    return np.array([_is_divider(chr(code)) for code in codes], dtype=bool)[index]


def _is_divider(character: str) -> bool:
    return (
        character in string.punctuation
        or unicodedata.category(character).startswith("P")
        or bool(_UNSPACED.match(character))
    )


def _is_attached(characters: NDArray[np.uint32]) -> NDArray[np.bool_]:
    codes, index = np.unique(characters, return_inverse=True)
    attached = [
        chr(code) in _ATTACHED or unicodedata.category(chr(code)).startswith("M") for code in codes
    ]
    return np.array(attached, dtype=bool)[index]
