"""What can go wrong between a recipe and a published version."""

from __future__ import annotations

from bertqa.errors import BertQAError


class BuildError(BertQAError):
    """A build cannot begin, or cannot go on."""


class RecipeError(BuildError):
    """A recipe says something that it must not, or leaves out what it must say."""


class CheckpointError(BuildError):
    """The checkpoint cannot be had, or is none that can answer questions."""


class TrainingError(BuildError):
    """Training had to stop."""
