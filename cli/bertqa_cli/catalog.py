"""The verbs, each imported only when it is used: `bert-qa --help` names them all at once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import click
import typer
from typer.core import TyperCommand

from bertqa_cli.importing import uncollected

_MAKE = "Make a model"
_SERVE = "Serve it, and ask it"
_JUDGE = "Judge it"
_MOVE = "Move versions, and traffic between them"
_MORE = "More"


@dataclass(frozen=True, slots=True)
class Entry:
    """A verb as the list of all verbs shows it.

    Attributes:
        panel: The group that it is listed in.
        help: What it does, in one line.
    """

    panel: str
    help: str

    def placeholder(self, name: str) -> click.Command:
        """Return a command that is listed, and stands for the verb until it is used.

        Args:
            name: The verb.
        """
        return TyperCommand(name, help=self.help, rich_help_panel=self.panel)


VERBS = {
    "init": Entry(_MAKE, "Write a recipe for a build, with comments."),
    "build": Entry(_MAKE, "Make, score and publish an FP32 and an INT8 version."),
    "serve": Entry(_SERVE, "Serve a model repository, and the HTTP API beside it."),
    "ask": Entry(_SERVE, "Ask a question about a text, or a file of questions."),
    "evaluate": Entry(_JUDGE, "Score a version: exact match and F1."),
    "compare": Entry(_JUDGE, "Show which of two versions is better, and by how much."),
    "inspect": Entry(_JUDGE, "Show what a version's graph runs, layer by layer."),
    "bench": Entry(_JUDGE, "Measure engines and precisions on this machine."),
    "versions": Entry(_MOVE, "List, show, compare, verify and delete versions."),
    "switch": Entry(_MOVE, "Move traffic to another version, or back."),
    "publish": Entry(_MOVE, "Copy a version to a store or a registry of models."),
    "pull": Entry(_MOVE, "Bring a version from a registry of models."),
    "azureml": Entry(_MOVE, "Train, serve and switch in Azure Machine Learning."),
    "help": Entry(_MORE, "Explain a topic, such as connection, data or resume."),
}


def load(name: str) -> click.Command:
    """Return a verb, imported.

    Args:
        name: One of `VERBS`.
    """
    with uncollected():
        return typer.main.get_command(import_module(f"bertqa_cli.verbs.{name}").app)
