"""The tokenizer of a checkpoint, in the one form that is published."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from bertqa.errors import TokenizerError
from bertqa.qa import QATokenizer
from bertqa_build.checkpoint_config import require_not_a_pointer
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
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                ).backend_tokenizer
    except Exception as error:
        raise CheckpointError(
            f"The tokenizer of the checkpoint {source} in {folder} cannot be read.",
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


def _pads_left(folder: Path) -> bool:
    try:
        settings = json.loads((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and settings.get("padding_side") == "left"
