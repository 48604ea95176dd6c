"""The command line: its verbs, and every error as a sentence with an exit status."""

from __future__ import annotations

from collections.abc import Sequence

import click
import typer
from click.core import ParameterSource
from typer.core import TyperGroup

from bertqa.errors import BertQAError
from bertqa_cli.console import print_error, print_json
from bertqa_cli.errors import (
    CommandError,
    Status,
    in_command_words,
    missing_extra,
    option_names,
    refused_by_system,
    status_of,
)
from bertqa_cli.values import Verb, VerbGroup
from bertqa_cli.verbs import (
    ask,
    azureml,
    bench,
    bench_client,
    bench_latency_table,
    build,
    compare,
    evaluate,
    init,
    inspect,
    publish,
    pull,
    serve,
    serve_http_api,
    switch,
    version_life,
    versions,
)

PROGRAM = "bert-qa"
JSON_OPTION = "--json"


class _Verbs(TyperGroup):
    """The verbs; what the library reports reaches the user in the words of the command line."""

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
            name = context.invoked_subcommand or ""
            options = option_names(self.get_command(context, name))
            raise CommandError(
                in_command_words(str(error), options), status=status_of(error), detail=error.detail
            ) from error


app = typer.Typer(
    name=PROGRAM,
    cls=_Verbs,
    help="Quantise a BERT question-answering model, serve it with OpenVINO Model Server (OVMS), "
    "ask it, and switch versions safely.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(cls=build.BuildVerb)(build.build)
for verb in (init, ask, evaluate, compare, publish, pull, switch, inspect):
    app.command(cls=Verb)(getattr(verb, verb.__name__.rpartition(".")[2]))
servers = typer.Typer(
    cls=serve.ServeGroup,
    invoke_without_command=True,
    subcommand_metavar="[http-api] [-- OPTIONS OF OVMS]",
)
servers.callback()(serve.serve)
servers.command("http-api", cls=Verb)(serve_http_api.serve_http_api)
app.add_typer(servers, name="serve")
lists = typer.Typer(cls=VerbGroup, invoke_without_command=True)
lists.callback()(versions.versions)
for below in (version_life.show, version_life.diff, version_life.delete):
    lists.command(cls=Verb)(below)
app.add_typer(lists, name="versions")
benches = typer.Typer(cls=VerbGroup, invoke_without_command=True)
benches.callback()(bench.bench)
benches.command("client", cls=Verb)(bench_client.bench_client)
benches.command("latency-table", cls=Verb)(bench_latency_table.bench_latency_table)
app.add_typer(benches, name="bench")
app.add_typer(azureml.app, name="azureml")


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
    as_json = JSON_OPTION in arguments
    try:
        status = typer.main.get_command(app).main(
            list(arguments), prog_name=PROGRAM, standalone_mode=False
        )
        return _ended(status)
    except click.UsageError as error:
        return _wrong_usage(error, as_json=as_json)
    except click.ClickException as error:
        return _failed(CommandError(error.format_message()), as_json=as_json)
    except click.Abort:
        return Status.INTERRUPTED
    except ModuleNotFoundError as error:
        return _failed(missing_extra(error), as_json=as_json)
    except BertQAError as error:
        return _failed(error, as_json=as_json)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _failed(refused_by_system(error), as_json=as_json)


def _ended(status: object) -> int:
    """Return the status of a verb that came to its end; Typer answers Ctrl-C with 130."""
    if status == Status.INTERRUPTED:
        raise KeyboardInterrupt
    return status if isinstance(status, int) else Status.DONE


def _wrong_usage(error: click.UsageError, *, as_json: bool) -> int:
    message = _without_variable(error)
    if error.ctx is None or not message:  # The help was shown for want of arguments.
        error.show()
        return error.exit_code
    hint = f"`{error.ctx.command_path} --help` lists the options."
    return _failed(CommandError(f"{message} {hint}", status=Status.USAGE), as_json=as_json)


def _without_variable(error: click.UsageError) -> str:
    """Return the message without the variable that an option has, where its value was typed."""
    message = error.format_message()
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return message
    source = error.ctx.get_parameter_source(error.param.name or "")
    hint = f" (env var: {error.param.envvar!r})"
    return message if source is ParameterSource.ENVIRONMENT else message.replace(hint, "", 1)


def _failed(error: BertQAError, *, as_json: bool) -> int:
    status = status_of(error)
    print_error(str(error), error.detail)
    if as_json:
        moved = getattr(error.__cause__, "moved", None)  # What a rollout had come to.
        document = {} if moved is None else moved.to_dict()
        print_json({**document, "error": str(error), "detail": error.detail, "status": status})
    return status
