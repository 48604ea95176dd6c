"""A verb of the command line: how it is read, and how its help is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import typer
from click.core import ParameterSource
from typer.core import TyperCommand, TyperGroup

from bertqa_cli.console import json_output
from bertqa_cli.examples import show_examples
from bertqa_cli.settings import apply_settings

_TYPED = "bertqa_cli.typed"


def typed_arguments() -> list[str]:
    """Return the arguments of the verb that runs, as they were typed."""
    return list(click.get_current_context().meta[_TYPED])


class _Reading(click.Command):
    """How every verb is read, and shows its help."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        # Typer breaks a paragraph where its source does, and the terminal once more.
        paragraphs = (self.help or "").partition("\f")[0].split("\n\n")
        self.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments; see `click.Command.parse_args`."""
        ctx.meta[_TYPED] = list(args)
        apply_settings(self, ctx)
        json_output.wanted |= bool((ctx.default_map or {}).get("json"))
        _refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, with examples; see `click.Command.format_help`."""
        super().format_help(ctx, formatter)
        show_examples(ctx.command_path)


class Verb(_Reading, TyperCommand):
    """A verb that refuses an option without a value: `--repository ""` is not this directory."""


class VerbGroup(_Reading, TyperGroup):
    """The same for a verb that has others below it."""

    def __init__(self, **attributes: Any) -> None:
        # Click suggests what may have been meant, and Typer would once more.
        super().__init__(**{**attributes, "suggest_commands": False})

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb, or the one below it; see `click.Command.invoke`.

        Raises:
            click.UsageError: An option stands before the name of the verb below, which has its own.
        """
        below = ctx.invoked_subcommand or next(iter(ctx._protected_args), None)
        if below in self.commands:
            for param in self.params:
                typed = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
                if typed and isinstance(param, click.Option):
                    option = max(param.opts, key=len)
                    raise click.UsageError(
                        f"{option} has no effect before {below}: write what {below} takes after "
                        "it.",
                        ctx,
                    )
        return super().invoke(ctx)


def _refuse_empty(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    try:
        given, _, _ = command.make_parser(ctx).parse_args(list(args))
    except click.UsageError as error:
        error.ctx = error.ctx or ctx  # The parser says what is missing, and not to which verb.
        raise
    for param in command.get_params(ctx):
        value = given.get(param.name or "")
        values = value if isinstance(value, list) else [value]
        if isinstance(param, click.Option) and "" in values:
            raise click.BadParameter("It is empty.", ctx, param)


def alone(verb: Callable[..., None], kind: type[TyperCommand] | None = None) -> typer.Typer:
    """Return an application of one verb, with none below it.

    Args:
        verb: The function.
        kind: What reads its command line; `Verb` if left out.
    """
    app = typer.Typer(add_completion=False)
    app.command(cls=kind or Verb)(verb)
    return app


def group(
    verb: Callable[..., None], kind: type[TyperGroup] | None = None, **more: Any
) -> typer.Typer:
    """Return an application of a verb that has others below it.

    Args:
        verb: The function.
        kind: What reads its command line; `VerbGroup` if left out.
        **more: Others of `typer.Typer`.
    """
    app = typer.Typer(
        cls=kind or VerbGroup, invoke_without_command=True, add_completion=False, **more
    )
    app.callback()(verb)
    return app
