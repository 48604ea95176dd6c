"""Where a build keeps what its stages made, in its folder of the work directory."""

from __future__ import annotations

from pathlib import Path

FINETUNED = "finetuned"
PRUNED = "pruned"
DISTILLED = "distilled"
CALIBRATED = "calibrated"
INT8_PYTORCH = "pytorch"
WEIGHTS_FILE = "model.safetensors"

_DIGITS = 12


def version_folder(folder: Path, precision: str, fingerprint: str) -> Path:
    """Return where a version's stages keep what they made.

    Args:
        folder: The folder of the recipe in the work directory.
        precision: The version's precision, such as `INT8`; `PRUNED` for a step of a pruning.
        fingerprint: The digest of what the version is made of, `inputs_sha256` of its manifest.
    """
    return folder / f"{precision.lower()}-{fingerprint[:_DIGITS]}"
