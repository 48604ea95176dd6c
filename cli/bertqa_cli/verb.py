"""A verb of the command line: how it is read, and how its help is shown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import click
import typer
from click.core import ParameterSource
from typer.core import MarkupMode, TyperCommand, TyperGroup

from bertqa_cli.console import json_output, stdout
from bertqa_cli.examples import examples_of, show_examples
from bertqa_cli.settings import apply_settings

_TYPED = "bertqa_cli.typed"
# The columns from which on panels have room for every option's name.
_PANELS = 80
# Within a paragraph, which is wrapped anew.
_LINE_END = re.compile(r"(?<=\S)\n(?=\S)")


def typed_arguments() -> list[str]:
    """Return the arguments of the verb that runs, as they were typed."""
    return list(click.get_current_context().meta[_TYPED])


class _Reading(click.Command):
    """How every verb is read, and shows its help."""

    rich_markup_mode: MarkupMode

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments; see `click.Command.parse_args`."""
        ctx.meta[_TYPED] = list(args)
        apply_settings(self, ctx)
        json_output.wanted |= bool((ctx.default_map or {}).get("json"))
        _refuse_empty(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, with examples; see `click.Command.format_help`.

        Rich cuts names short where a terminal is narrow, and Click, without panels, does not.
        """
        self.help = _LINE_END.sub(" ", inspect.cleandoc(self.help or "").partition("\f")[0])
        if stdout.width >= _PANELS:
            super().format_help(ctx, formatter)
            show_examples(ctx.command_path)
            return
        self.rich_markup_mode = None
        super().format_help(ctx, formatter)
        formatter.buffer[:] = [each.replace("\\[", "[") for each in formatter.buffer]
        formatter.write(f"\n{examples_of(ctx.command_path)}")

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the first sentence of the help, whole; see `click.Command.get_short_help_str`."""
        return super().get_short_help_str(max(limit, len(self.help or "")))


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
