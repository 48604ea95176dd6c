"""The tokenizer of a checkpoint, in the one form that is published."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from bertqa.errors import TokenizerError
from bertqa.qa import QATokenizer
from bertqa_build.checkpoint_config import first_line, require_not_a_pointer
from bertqa_build.errors import CheckpointError
from bertqa_build.quiet import quiet

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "*.model", TOKENIZER_FILE)
"""Patterns of the files of which a tokenizer can be made."""

_SETTINGS_FILE = "tokenizer_config.json"

_SPARE_EMBEDDINGS = 1000
"""How many rows a model may have for no token: some round their vocabulary up."""


def load_tokenizer(folder: Path, source: str, vocabulary: int) -> str:
    """Return the text of a checkpoint's `tokenizer.json`, made from older files where it has none.

    Args:
        folder: The checkpoint's directory.
        source: The checkpoint's name, for messages.
        vocabulary: The number of tokens that the model has embeddings of.

    Returns:
        The text, without truncation and padding.

    Raises:
        CheckpointError: The tokenizer is missing or cannot be read; it does not fit the model; it
            does not join a question and a context; or it pads on the left.
    """
    files = [path for pattern in TOKENIZER_FILES for path in sorted(folder.glob(pattern))]
    if not files:
        raise CheckpointError(
            f"The checkpoint {source} has no tokenizer: {folder} contains none of "
            f"{', '.join(TOKENIZER_FILES)}. Copy those of the model that it was trained from."
        )
    path = folder / TOKENIZER_FILE
    for found in files:
        require_not_a_pointer(found)
    try:
        tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else _made(folder)
    except Exception as error:  # whatever transformers makes of foreign files
        raise CheckpointError(
            f"The tokenizer of the checkpoint {source} in {folder} cannot be read: "
            f"{first_line(error)}. It must be a {TOKENIZER_FILE}, or have the files of its class "
            "in transformers, of which one is made.",
            detail=str(error),
        ) from error
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= vocabulary:
        raise CheckpointError(
            f"The tokenizer of {source} does not fit its model: its largest token id is "
            f"{largest}, but the model has {vocabulary} embeddings."
        )
    spare = vocabulary - largest - 1
    if spare > _SPARE_EMBEDDINGS:
        raise CheckpointError(
            f"The tokenizer of {source} does not fit its model: it has {largest + 1} tokens, but "
            f"the model has {vocabulary} embeddings. Copy the tokenizer of the model that it was "
            "trained from."
        )
    if _pads_left(folder):
        raise CheckpointError(
            f"The tokenizer of {source} pads on the left, but windows are padded on the right. "
            f'Set "padding_side": "right" in its {_SETTINGS_FILE} if the model was trained so.'
        )
    try:
        QATokenizer(Tokenizer.from_str(tokenizer.to_str()))
    except TokenizerError as error:
        raise CheckpointError(f"The tokenizer of {source} cannot be used. {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return str(tokenizer.to_str())


def _made(folder: Path) -> Tokenizer:
    """Return the tokenizer that transformers makes of older files, of which it needs its own."""
    with quiet():
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    needed = sorted({*made.vocab_files_names.values()} - {TOKENIZER_FILE}) or [TOKENIZER_FILE]
    if not any((folder / name).is_file() for name in needed):
        raise FileNotFoundError(f"there is no {' or '.join(needed)}")
    if not hasattr(made, "backend_tokenizer"):
        raise TypeError(f"a {type(made).__name__} runs in Python alone")
    return made.backend_tokenizer


def _pads_left(folder: Path) -> bool:
    try:
        settings = json.loads((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and settings.get("padding_side") == "left"
