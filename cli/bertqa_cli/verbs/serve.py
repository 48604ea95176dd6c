"""`bert-qa serve`: a server on a model repository."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich.markup import escape

from bertqa.artifact import LOG_LEVELS, PRECISIONS, SETTING_RANGES, Repository, VerifyKey
from bertqa_cli.console import (
    print_json,
    print_step,
    print_text,
    print_warning,
    stderr,
    stdout,
)
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.grouping import grouped_options
from bertqa_cli.hardware import say_what_int8_saves
from bertqa_cli.http_api import HttpApiFlags, print_ready
from bertqa_cli.options import DEFAULT_MODEL, DEFAULT_REPOSITORY, Json, Model
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import stages
from bertqa_cli.signatures import VerifyWith, read_key
from bertqa_cli.values import Whole, refuse_typed
from bertqa_cli.verb import Verb, VerbGroup, group
from bertqa_cli.verbs.serve_http_api import serve_http_api

if TYPE_CHECKING:
    from bertqa_serve.launcher import Running

Port = Annotated[int, typer.Option(click_type=Whole(min=1, max=65535), help="The gRPC port.")]
RestPort = Annotated[int, typer.Option(click_type=Whole(min=1, max=65535), help="The REST port.")]
_OWN = "bertqa_cli.own"
_TUNING = "Tuning (by default for the cores and the memory of this machine)"


def _tuning(name: str, help_: str) -> Any:
    least, most = SETTING_RANGES[name]
    return typer.Option(
        click_type=Whole(min=least, max=most), help=help_, rich_help_panel=_TUNING, metavar="N"
    )


class ServeGroup(VerbGroup):
    """The verb, with `http-api` below it; what follows `--` are options of ovms itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments; see `click.Command.parse_args`."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_OWN] = tuple(args[at + 1 :])
        return super().parse_args(ctx, args[:at])


@grouped_options
def serve(
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    port: Port = 9000,
    rest_port: RestPort = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    engine: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(("auto", "ovms", "container", "local")),
            metavar="ENGINE",
            help="auto, ovms, container or local.",
        ),
    ] = "auto",
    ovms: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The ovms program; by default OVMS_BINARY, or on PATH.",
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    verify_with: VerifyWith = None,
    warm_up: Annotated[bool, typer.Option(help="Run each input length before users do.")] = True,
    log_level: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(LOG_LEVELS, case_sensitive=False),
            metavar="LEVEL",
            help=f"What the server logs: {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}.",
        ),
    ] = "INFO",
    threads: Annotated[
        int | None, _tuning("threads", "Threads of inference; written into config.json.")
    ] = None,
    streams: Annotated[
        int | None, _tuning("streams", "Requests computed at once; written into config.json.")
    ] = None,
    grpc_threads: Annotated[
        int | None,
        _tuning("grpc_threads", "Threads of gRPC: one for each call of all connections."),
    ] = None,
    concurrent_streams: Annotated[
        int | None, _tuning("concurrent_streams", "gRPC calls at once on one connection.")
    ] = None,
    rest_workers: Annotated[
        int | None, _tuning("rest_workers", "Event loops of the REST server.")
    ] = None,
    poll_seconds: Annotated[
        int | None,
        _tuning("poll_seconds", "How often the server looks for new versions; 0 is never."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            click_type=click.Choice(PRECISIONS),
            metavar="PRECISION",
            help="What floating-point operations run in: f32, bf16 or f16; written into "
            "config.json. The CPU's best if left out.",
            rich_help_panel=_TUNING,
            show_default=False,
        ),
    ] = None,
    tuned: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file of `bert-qa bench tune`, for what is not named here.",
            rich_help_panel=_TUNING,
        ),
    ] = None,
    with_http_api: Annotated[
        bool, typer.Option("--http-api/--no-http-api", help="Serve the HTTP API beside it.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the server's command line and start nothing.")
    ] = False,
    *,
    http: HttpApiFlags,
    json: Json = False,
) -> None:
    """Serve a model repository until interrupted: with OVMS if it is there, else a local engine.

    Beside it, the HTTP API answers questions in text, also on a page for a browser.
    """
    context = click.get_current_context()
    if context.invoked_subcommand:
        return
    if not with_http_api:
        names = {each.name for each in fields(http)}
        refuse_typed(names, "for the HTTP API, which --no-http-api leaves out.")
    if http.http_port in (port, rest_port):
        raise CommandError(
            f"--http-port is {http.http_port}, which is the port of "
            f"{'gRPC' if http.http_port == port else 'REST'}: the HTTP API takes one of its own.",
            status=Status.USAGE,
        )
    from bertqa_serve.launcher import dry_run as command_of
    from bertqa_serve.launcher import serve as serve_repository
    from bertqa_serve.options import ServeOptions
    from bertqa_serve.tuned import TunedSettings, read_tuned

    measured = TunedSettings() if tuned is None else read_tuned(tuned)
    if measured.warning:
        print_warning(measured.warning)
    measured = replace(
        measured,
        threads=None if threads else measured.threads,
        streams=None if streams else measured.streams,
        precision=None if precision else measured.precision,
        token_budget=measured.token_budget if with_http_api and not http.token_budget else None,
    )
    if tuned is not None:
        print_step(f"from {tuned}: {measured}")
    http = http.tuned_by(measured)
    options = ServeOptions(
        repository=repository,
        engine=engine,
        ovms_path=ovms,
        model=model,
        verify=read_key(VerifyKey, verify_with),
        host=host,
        port=port,
        rest_port=rest_port,
        warm_up=warm_up,
        log_level=log_level,
        threads=threads or measured.threads,
        streams=streams or measured.streams,
        precision=precision or measured.precision,
        grpc_threads=grpc_threads,
        concurrent_streams=concurrent_streams,
        rest_workers=rest_workers,
        poll_seconds=poll_seconds,
        own=context.meta[_OWN],
    )

    def log(line: str) -> None:
        stderr.print(line, markup=False)

    warming_up = ExitStack()

    @contextmanager
    def beside(server: Running) -> Iterator[Callable[[], None]]:
        """Run the HTTP API as long as the server runs."""
        warming_up.close()
        if not with_http_api:
            on_ready(server, None)
            yield lambda: None
            return
        client = {
            "url": server.grpc_url,
            "metadata_url": server.rest_url,
            "model": model,
            "traffic": "auto",
        }
        from bertqa_serve.http_api import http_api_beside

        with http_api_beside(http.options(client, host)) as (address, check):
            on_ready(server, address)
            yield check

    def on_ready(server: Running, address: str | None) -> None:
        if json:
            print_json(
                {
                    "engine": server.engine.kind,
                    "reason": server.engine.reason,
                    "grpc_url": server.grpc_url,
                    "rest_url": server.rest_url,
                    "http_url": address,
                }
            )
        else:
            stdout.print(
                f"[bold green]{escape(model)} is ready[/]: gRPC at {escape(server.grpc_url)}, "
                f"REST at {escape(server.rest_url)}. Press Ctrl-C to stop it."
            )
            if address is not None:
                print_ready(address)

    manifests = [each.manifest for each in Repository(repository).entries(model)]
    if any(each is not None and each.precision.upper() == "INT8" for each in manifests):
        say_what_int8_saves(precision)
    if dry_run:
        command = command_of(options, log=log)
        print_json({"command": command}) if json else print_text(shlex.join(command))
        return
    if with_http_api:
        http.check(host)
    with warming_up:
        serve_repository(
            options,
            log=log,
            beside=beside,
            on_progress=warming_up.enter_context(stages()),
        )


app = group(serve, ServeGroup, subcommand_metavar="[http-api] [-- OPTIONS OF OVMS]")
app.command("http-api", cls=Verb)(serve_http_api)
