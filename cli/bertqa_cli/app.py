"""The command line: its verbs, and every error as a sentence with an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import click
import typer
from click.core import ParameterSource
from typer.core import TyperGroup

from bertqa.errors import BertQAError
from bertqa_cli.catalog import VERBS, load
from bertqa_cli.console import json_output, print_error, print_json
from bertqa_cli.errors import (
    CommandError,
    Status,
    in_command_words,
    missing_extra,
    option_names,
    refused_by_system,
    status_of,
)
from bertqa_cli.examples import show_examples
from bertqa_cli.settings import set_by

PROGRAM = "bert-qa"
JSON_OPTION = "--json"


class _Verbs(TyperGroup):
    """The verbs; what the library reports reaches the user in the words of the command line."""

    def __init__(self, **attributes: Any) -> None:
        # Click suggests what may have been meant, and Typer would once more.
        super().__init__(**{**attributes, "suggest_commands": False})
        for name, entry in VERBS.items():
            self.add_command(entry.placeholder(name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that is named, imported; see `click.Group.resolve_command`."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else load(name), rest

    def invoke(self, context: click.Context) -> object:
        """Run a verb.

        Raises:
            CommandError: What the verb raised, with the names of its options.
        """
        try:
            return super().invoke(context)
        except CommandError:
            raise
        except BertQAError as error:
            name = context.invoked_subcommand
            options = option_names(load(name) if name in VERBS else None)
            moved = getattr(error, "moved", None)  # What a rollout had come to.
            raise CommandError(
                in_command_words(str(error), options),
                status=status_of(error),
                detail=error.detail,
                document=None if moved is None else moved.to_dict(),
            ) from error

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, with examples; see `click.Command.format_help`."""
        super().format_help(ctx, formatter)
        show_examples(ctx.command_path)


app = typer.Typer(name=PROGRAM, cls=_Verbs, no_args_is_help=True, invoke_without_command=True)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="With --version: OpenVINO, OVMS, the CPU and the libraries too, for bug reports.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option(JSON_OPTION, help="Print the version as JSON.")] = False,
) -> None:
    """Quantise a BERT question-answering model, serve it with OpenVINO Model Server (OVMS).

    Ask it, compare versions, and switch between them safely.
    \f
    Args:
        context: Of the command line.
        version: Whether to print the version.
        verbose: Whether to print with it what a report of a bug needs.
        json: Whether to print it as JSON.

    Raises:
        click.UsageError: There is no verb.
    """
    if version:
        from bertqa_cli.about import show_version

        show_version(verbose=verbose, json=json)
        raise typer.Exit
    if verbose or json:
        raise click.UsageError("--verbose and --json go with --version, or follow a verb.", context)
    if context.invoked_subcommand is None:
        raise click.UsageError("Missing command.", context)


def main(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit status; see `Status`. With --json, a failure is JSON on standard output too.

    Raises:
        KeyboardInterrupt: The user interrupted the verb.
        BrokenPipeError: Nothing reads the standard output any more.
    """
    json_output.wanted, json_output.printed = JSON_OPTION in arguments, False
    try:
        status = typer.main.get_command(app).main(
            list(arguments), prog_name=PROGRAM, standalone_mode=False
        )
        return _ended(status)
    except click.UsageError as error:
        return _wrong_usage(error)
    except click.ClickException as error:
        return _failed(CommandError(error.format_message()))
    except click.Abort as error:  # Ctrl-C at a question.
        raise KeyboardInterrupt from error
    except ModuleNotFoundError as error:
        return _failed(missing_extra(error))
    except BertQAError as error:
        return _failed(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _failed(refused_by_system(error))


def _ended(status: object) -> int:
    """Return the status of a verb that came to its end; Typer answers Ctrl-C with 130."""
    if status == Status.INTERRUPTED:
        raise KeyboardInterrupt
    return status if isinstance(status, int) else Status.DONE


def _wrong_usage(error: click.UsageError) -> int:
    message = _without_variable(error)
    if not message:  # The help was shown for want of arguments.
        error.show()
        return error.exit_code
    path = error.ctx.command_path if error.ctx else PROGRAM
    hint = f"`{path} --help` lists the options."
    return _failed(CommandError(f"{message} {hint}", status=Status.USAGE))


def _without_variable(error: click.UsageError) -> str:
    """Return the message without the variable that an option has, where its value was typed."""
    message = error.format_message()
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return message
    source = error.ctx.get_parameter_source(error.param.name or "")
    file = set_by(error.ctx) if source is ParameterSource.DEFAULT_MAP else None
    if file is not None:
        message = f"{message} It is set in {file}."
    hint = f" (env var: {error.param.envvar!r})"
    return message if source is ParameterSource.ENVIRONMENT else message.replace(hint, "", 1)


def _failed(error: BertQAError) -> int:
    status = status_of(error)
    print_error(str(error), error.detail)
    if json_output.wanted and not json_output.printed:
        found = getattr(error, "document", None) or {}
        print_json({**found, "error": str(error), "detail": error.detail, "status": status})
    return status
