"""How figures, moments and answers are written for people."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from bertqa import Answer
from bertqa.artifact import MODEL_NAME, OvmsConfig
from bertqa.errors import RepositoryError
from bertqa.qa import cut_around
from bertqa_cli.console import sign, visible

if TYPE_CHECKING:
    from bertqa.artifact import VersionManifest

CONTEXT_SHOWN = 160


def directory_size(directory: Path) -> int:
    """Return the sum of the sizes of all files in a directory, in bytes.

    What is deleted meanwhile is not counted.
    """
    size = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                size += Path(folder, file).stat().st_size
    return size


def human_size(size: int) -> str:
    """Return a number of bytes in decimal megabytes."""
    return f"{size / 1e6:.1f} MB"


def next_step(repository: Path, model: str, version: int) -> str:
    """Return what to type to serve a version that was just published, as a sentence.

    Args:
        repository: The repository.
        model: The name of the model.
        version: The version, which a `config.json` that lists versions does not serve.
    """
    verb = "serve" if _is_served(repository, model, version) else f"switch --to {version}"
    named = "" if model == MODEL_NAME else f" --model {model}"
    return f"Next: bert-qa {verb} --repository {shlex.quote(str(repository))}{named}"


def _is_served(repository: Path, model: str, version: int) -> bool:
    """Return whether a server with the repository's configuration has a version."""
    from bertqa.artifact import Repository  # With pydantic, which answers do without.

    published = Repository(repository)
    try:
        config = OvmsConfig.read(published.config_path)
        return not config.has(model) or version in config.policy(model).choose(
            published.versions(model)
        )
    except RepositoryError:
        return True


def score(value: float | None) -> str:
    """Return an exact match or F1, empty where it is not known."""
    return "" if value is None else f"{value:.2f}"


def milliseconds(value: float | None) -> str:
    """Return a latency, empty where it is not known."""
    return "" if value is None else f"{value:.1f} ms"


def day(moment: str | None) -> str:
    """Return the day of an ISO 8601 moment, empty where it is not known."""
    return (moment or "")[:10]


def about_manifest(manifest: VersionManifest) -> str:
    """Return what a version is, as in "INT8, made from deepset/minilm, published 2026-11-28".

    Args:
        manifest: Its manifest.
    """
    origin = f"version {manifest.parent}" if manifest.parent else manifest.source
    return f"{manifest.precision}, made from {origin}, published {day(manifest.published)}"


def headline(answer: Answer) -> Text:
    """Return an answer with its score, version and position."""
    return Text.assemble(
        (visible(answer.text) or "no answer", "bold"),
        f"  (score {answer.score:.3f}, version {answer.model_version}, "
        f"characters {answer.start}-{answer.end})",
    )


def highlighted(answer: Answer, context: str) -> Text:
    """Return an answer, marked, with some of its context on either side.

    Args:
        answer: The answer, with its place in the context.
        context: The text that it was found in.
    """
    return Text.assemble(
        *(
            (_shown(piece.text), "dim" if piece.answer is None else "bold black on green")
            for piece in cut_around(context, [answer], CONTEXT_SHOWN)
        )
    )


def _shown(text: str) -> str:
    return sign(text, "...") if text == "…" else visible(text)
