"""The function that loads a model into this process.

The clients, who call it, do not know the engines: `bertqa` itself, which knows both, sets it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

LoadModel = Callable[[Path, int | None], Any]

_load_model: LoadModel | None = None


def load_models_with(load_model: LoadModel) -> None:
    """Set the function that loads the model at a path, of a version if one is named.

    Args:
        load_model: Takes the path and the version, None for the latest, and returns an open
            transport.
    """
    global _load_model
    _load_model = load_model


def load_model(path: Path, version: int | None) -> Any:
    """Return an open transport to the model at a path; see `bertqa.runtime.load`."""
    assert _load_model is not None, "bertqa itself sets it, before anything below it is imported"
    return _load_model(path, version)
