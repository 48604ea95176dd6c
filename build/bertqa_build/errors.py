"""The errors of a build."""

from __future__ import annotations

from bertqa.errors import BertQAError, InvalidOptionError, QualityGateError


class BuildError(BertQAError):
    """A build cannot start or continue."""


class RecipeError(BuildError):
    """A recipe is not valid: it is not YAML, lacks a key, or has a wrong key or value."""


class CheckpointError(BuildError):
    """A checkpoint or adapter cannot be loaded, or cannot answer questions."""


class MissingCheckpointError(CheckpointError, InvalidOptionError):
    """There is no checkpoint at the path, or in the package, that was named."""


class TrainingError(BuildError):
    """A training had to stop."""


class PartlyRefusedError(QualityGateError):
    """The gate refused some of the versions that were pruned; the other ones are published.

    Args:
        message: Which ones, and why.
        unpruned: The number of the FP32 version that all were pruned from.
    """

    def __init__(self, message: str, unpruned: int) -> None:
        super().__init__(message)
        self.unpruned = unpruned


class StoppedElsewhereError(BuildError):
    """The build stopped in another one of its processes, which reports the reason."""


class RefusedElsewhereError(StoppedElsewhereError, QualityGateError):
    """The gate refused a version in another one of the build's processes, which reports it."""
