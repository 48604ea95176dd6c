"""From a question and a context to windows of tokens with their character offsets."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from bertqa import _defaults, _hub
from bertqa._checks import path as path_of
from bertqa._checks import whole
from bertqa._quiet import muted
from bertqa._reason import reason_of
from bertqa.artifact import INPUTS, open_regular
from bertqa.errors import (
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    TokenizerError,
)
from bertqa.qa._encoding import Encoder, Pace, no_pace
from bertqa.qa._tokenizers import tokenizer_errors
from bertqa.qa._windows import Special, Template, Windows

TOKENIZER_FILE = "tokenizer.json"
# Characters.
_CHECKED_AT_ONCE = 500_000

_LENGTH, _OVERLAP = whole(1), whole(0)

# What ends in .json is the name of a file.
_HUB_ID = re.compile(r"(?!.*\.json$)(?:\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)


class QATokenizer:
    """Makes windows. Safe to use from several threads.

    Args:
        tokenizer: A tokenizer of the `tokenizers` library, whose truncation, padding and handling
            of special tokens are changed.

    Raises:
        TokenizerError: The tokenizer does not join a question and a context, or pads on the left.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        with tokenizer_errors("The tokenizer cannot be used"):
            padding = tokenizer.padding
        if padding is not None and padding["direction"] == "left":
            raise TokenizerError(
                "The tokenizer pads on the left, but windows are padded on the right, which moves "
                "every token for a model that learned positions with the padding before it. Set "
                "the padding's direction in the tokenizer.json to Right if the model was trained "
                "so."
            )
        with tokenizer_errors("The tokenizer cannot be used"):
            self._encoder = Encoder(tokenizer)
            self._tokenizer = tokenizer
            self._template = _template_of(tokenizer)

    @property
    def digest(self) -> str:
        """A text that differs where the tokenizer does."""
        with tokenizer_errors("The tokenizer cannot be written"):
            text = self._tokenizer.to_str()
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

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
        with tokenizer_errors("The text is not a valid tokenizer.json"):
            tokenizer = Tokenizer.from_str(text)
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
        file = path_of("path", path)
        try:
            if file.is_dir():
                file /= TOKENIZER_FILE
            with open_regular(file) as opened:
                text = opened.read().decode("utf-8")
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
        if not isinstance(source, str) or _exists(source):
            return cls.from_path(source)
        if not _HUB_ID.fullmatch(source):
            raise TokenizerError(
                f"Found no file or directory at {source!r}. Pass the path of a "
                f"{TOKENIZER_FILE} or of its directory."
            )
        # Importing it takes a while, and sets the level of its loggers.
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import DisabledRepoError, GatedRepoError, HfHubHTTPError

        nowhere = f"Found no file or directory at {source!r}"
        instead = f"Pass the path of a {TOKENIZER_FILE}."
        try:
            with muted(*_hub.LOGGERS):
                file = hf_hub_download(source, TOKENIZER_FILE)
        except HfHubHTTPError as error:
            why = f"the Hugging Face hub has no {TOKENIZER_FILE} of that name"
            if isinstance(error, GatedRepoError | DisabledRepoError):
                why = _hub.refusal(error)
            raise TokenizerError(
                f"{nowhere}, and {why}. {instead}", detail=str(error).strip()
            ) from error
        except Exception as error:  # whatever the hub's cache or the network raises
            raise TokenizerError(
                f"{nowhere}, and the Hugging Face hub at {constants.ENDPOINT} cannot be reached. "
                f"{instead}"
            ) from error
        return cls.from_path(file)

    def windows(
        self,
        question: str,
        context: str,
        *,
        max_seq_len: int = _defaults.MAX_SEQ_LEN,
        doc_stride: int = _defaults.DOC_STRIDE,
        max_question_len: int = _defaults.MAX_QUESTION_LEN,
        pace: Pace = no_pace,
        inputs: tuple[str, ...] = INPUTS,
    ) -> Windows:
        """Cut a context into windows, each of which begins with the question.

        Args:
            question: The question.
            context: The context.
            max_seq_len: The length of a window at most, in tokens.
            doc_stride: How many tokens of the context neighbouring windows share; half of the room
                for the context where the question leaves too little room for that.
            max_question_len: How many tokens of the question are kept.
            pace: Called between the steps where a text is long; it may raise an error, which ends
                the work.
            inputs: The names of the model's inputs.

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
        check_text(question, "question", InvalidQuestionError, pace)
        check_text(context, "context", InvalidContextError, pace)

        question_ids = self._encoder.question(question, max_question_len, pace)
        if not len(question_ids):
            raise InvalidQuestionError(
                f"The question {question!r:.200} holds nothing that the tokenizer makes a token of."
            )
        tokens = self._encoder.context(context, pace)
        if not len(tokens.ids):
            raise InvalidContextError(
                f"The context {context!r:.200} holds nothing that the tokenizer makes a token of."
            )
        special = len(self._template)
        room = max_seq_len - special - len(question_ids)
        if room < 1:
            raise InvalidOptionError(
                f"max_seq_len is {max_seq_len}, which leaves no room for the context beside a "
                f"question of {len(question_ids)} tokens and {special} special tokens."
            )
        stride = doc_stride if doc_stride < room else room // 2
        return Windows(self._template, question_ids, tokens, room, stride, inputs)


def _template_of(tokenizer: Tokenizer) -> Template:
    """Find where special tokens go by encoding a pair of texts."""
    sample = tokenizer.encode("a", "a")
    sequences = sample.sequence_ids
    if 0 not in sequences or 1 not in sequences:
        raise TokenizerError("The tokenizer does not encode the letter 'a'.")
    length = len(sequences)
    first = sequences.index(0), length - sequences[::-1].index(0)
    second = sequences.index(1), length - sequences[::-1].index(1)
    if not first[0] < first[1] < second[0]:
        raise TokenizerError(
            "The tokenizer sets no special token between question and context: the "
            "post_processor of its tokenizer.json has no template for pairs. Where transformers' "
            "AutoTokenizer sets one, write the tokenizer again with its save_pretrained."
        )
    ids = np.array(sample.ids, dtype=np.int64)
    type_ids = np.array(sample.type_ids, dtype=np.int64)

    def run(begin: int, end: int) -> Special:
        return Special(ids[begin:end], type_ids[begin:end])

    return Template(run(0, first[0]), run(first[1], second[0]), run(second[1], length))


def _exists(source: str) -> bool:
    try:
        return Path(source).exists() and bool(source)
    except PermissionError:  # What reads it says so.
        return True
    except OSError:  # The name is too long, say.
        return False


def check_text(
    text: Any,
    name: str,
    error: type[InvalidQuestionError | InvalidContextError],
    pace: Pace = no_pace,
) -> None:
    """Check that a text can be encoded.

    Args:
        text: The text.
        name: What it is, for messages.
        error: The class of the error to raise.
        pace: Called between the steps where the text is long; see `QATokenizer.windows`.

    Raises:
        BertQAError: Of the class `error`: it is not a string, is empty, or has a lone surrogate.
    """
    if not isinstance(text, str):
        raise error(f"The {name} has to be a str, but it is of type {type(text).__name__}.")
    is_empty = True
    for first in range(0, len(text), _CHECKED_AT_ONCE):
        pace()
        part = text[first : first + _CHECKED_AT_ONCE]
        is_empty = is_empty and part.isspace()
        try:
            part.encode()
        except UnicodeEncodeError as surrogate:
            raise error(
                f"The {name} has a lone surrogate, U+{ord(part[surrogate.start]):04X}, at "
                f"character {first + surrogate.start}: it was decoded wrongly."
            ) from surrogate
    if is_empty:
        raise error(f"The {name} is empty.")
