"""The command `bert-qa`: registers the verbs and turns every error into a sentence and a status."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.markup import escape

from bertqa.errors import BertQAError
from bertqa_cli.console import stderr
from bertqa_cli.errors import CommandError, Status, missing_extra, status_of
from bertqa_cli.verbs import (
    ask,
    azureml,
    bench,
    bench_client,
    build,
    compare,
    evaluate,
    inspect,
    publish,
    serve,
    switch,
    versions,
)

app = typer.Typer(
    name="bert-qa",
    help="Quantise a BERT question-answering model, serve it with OpenVINO Model Server (OVMS), "
    "ask it, and switch versions safely.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (build, serve, ask, evaluate, compare, publish, switch, inspect, versions):
    app.command()(getattr(verb, verb.__name__.rpartition(".")[2]))
benches = typer.Typer(invoke_without_command=True)
benches.callback()(bench.bench)
benches.command("client")(bench_client.bench_client)
app.add_typer(benches, name="bench")
app.add_typer(azureml.app, name="azureml")


def run() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 refused by the gate."""
    try:
        app(prog_name="bert-qa")
    except KeyboardInterrupt:
        stderr.print("[yellow]interrupted[/]")
        sys.exit(Status.FAILED)
    except ModuleNotFoundError as error:
        _fail(missing_extra(error))
    except (BertQAError, CommandError) as error:
        _fail(error)
    sys.exit(Status.DONE)


def _fail(error: BertQAError | CommandError) -> NoReturn:
    stderr.print(f"[bold red]error:[/] {escape(str(error))}")
    if error.detail:
        stderr.print(f"[dim]detail: {escape(error.detail)}[/]")
    sys.exit(status_of(error))


if __name__ == "__main__":
    run()
