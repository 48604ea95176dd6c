"""The tokenizer of a checkpoint, in the one form that is published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from bertqa.errors import TokenizerError
from bertqa.qa import QATokenizer
from bertqa_build.checkpoint_config import first_line, require_not_a_pointer
from bertqa_build.checkpoint_source import TOKENIZER_FILE, TOKENIZER_FILES
from bertqa_build.errors import CheckpointError
from bertqa_build.quiet import quiet

_SETTINGS_FILE = "tokenizer_config.json"
_ADDED_FILE = "added_tokens.json"

_BERT_SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""What transformers sets in BERT's normalizer, by its own names."""

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
        CheckpointError: The tokenizer is missing or cannot be read; its files contradict each
            other; it does not fit the model; it does not join a question and a context; or it pads
            on the left.
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
    settings = _object(folder / _SETTINGS_FILE, source)
    added = _object(folder / _ADDED_FILE, source)
    try:
        tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else _made(folder, settings)
    except Exception as error:  # whatever transformers makes of foreign files
        raise CheckpointError(
            f"The tokenizer of the checkpoint {source} in {folder} cannot be read: "
            f"{first_line(error)}. It must be a {TOKENIZER_FILE}, or have the files of its class "
            "in transformers, of which one is made.",
            detail=str(error),
        ) from error
    if path.is_file():
        _require_agreement(tokenizer, settings, added, source)
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
    if settings.get("padding_side") == "left":
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


def _made(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer that transformers makes of older files, of which it needs its own."""
    name = settings.get("tokenizer_class")
    if "AutoTokenizer" in (settings.get("auto_map") or {}):
        raise TypeError("it is code of the checkpoint's own, which is not run")
    if name is not None and tokenizer_class_from_name(name) is None:
        raise TypeError(f"its {_SETTINGS_FILE} names the class {name}, which transformers lacks")
    for path in folder.glob("*.model"):
        try:
            SentencePieceProcessor(model_file=str(path))
        except Exception as error:  # whatever it makes of foreign bytes
            raise ValueError(f"{path.name} is not a model of SentencePiece") from error
    with quiet():
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    needed = sorted({*made.vocab_files_names.values()} - {TOKENIZER_FILE}) or [TOKENIZER_FILE]
    if not any((folder / name).is_file() for name in needed):
        raise FileNotFoundError(f"there is no {' or '.join(needed)}")
    if not hasattr(made, "backend_tokenizer"):
        raise TypeError(f"a {type(made).__name__} runs in Python alone")
    return made.backend_tokenizer


def _object(path: Path, source: str) -> dict[str, Any]:
    """Return the JSON object of a file, or an empty one if the file does not exist."""
    if not path.is_file() and not path.is_symlink():
        return {}
    require_not_a_pointer(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        detail, found = str(error), None
    else:
        detail = "it does not hold an object"
    if not isinstance(found, dict):
        raise CheckpointError(
            f"The {path.name} of the checkpoint {source} cannot be read. Download it again.",
            detail=detail,
        )
    return found


def _require_agreement(
    tokenizer: Tokenizer, settings: Mapping[str, Any], added: Mapping[str, Any], source: str
) -> None:
    """Refuse settings that transformers would change a `tokenizer.json` by, so that none is lost.

    Which of its versions and classes do so differs.
    """
    parts = json.loads(tokenizer.to_str())
    for part in _parts(parts["normalizer"]):
        if part["type"] == "BertNormalizer":
            if part["strip_accents"] is None:
                part["strip_accents"] = part["lowercase"]
            for name, own in _BERT_SETTINGS.items():
                _require_same(name, settings.get(name), part[own], source)
    for part in _parts(parts["pre_tokenizer"]):
        if part["type"] == "ByteLevel":
            name = "add_prefix_space"
            _require_same(name, settings.get(name), part[name], source)
    there = tokenizer.get_vocab()
    largest = max(there.values(), default=-1)
    try:
        beside = list(_added_tokens(settings, added))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The added tokens of the tokenizer of {source} cannot be read. Write its files again "
            "with `save_pretrained` of transformers.",
            detail=str(error),
        ) from error
    missing = [token for token, number in beside if number > largest and token not in there]
    if missing:
        raise CheckpointError(
            f"The tokenizer of {source} contradicts itself: its {TOKENIZER_FILE} lacks the token "
            f"{missing[0]!r}, which is added beside it. Write its files again with "
            "`save_pretrained` of transformers."
        )


def _added_tokens(
    settings: Mapping[str, Any], added: Mapping[str, Any]
) -> Iterator[tuple[str, int]]:
    """Yield the tokens that stand beside a `tokenizer.json`, with their numbers."""
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        yield token["content"], int(number)
    for text, number in added.items():
        yield text, int(number)


def _require_same(name: str, said: object, does: object, source: str) -> None:
    if said is not None and said != does:
        raise CheckpointError(
            f"The tokenizer of {source} contradicts itself: {name} is {json.dumps(said)} in its "
            f"{_SETTINGS_FILE}, and {json.dumps(does)} in its {TOKENIZER_FILE}. Set both to what "
            "the model was trained with."
        )


def _parts(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield a part of a `tokenizer.json`, or those that it is a sequence of."""
    if part is None:
        return
    if part["type"] == "Sequence":
        for name in ("normalizers", "pretokenizers"):
            yield from part.get(name, ())
    else:
        yield part
