"""`bert-qa switch`: move traffic to another version, on a server or on a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bertqa.artifact import Repository, Split, format_split
from bertqa.evaluation import read_squad
from bertqa_cli.console import print_json, print_step, stdout
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.options import (
    DEFAULT_CHART,
    DEFAULT_NAMESPACE,
    DEFAULT_REPOSITORY,
    Back,
    Chart,
    ConnectionOptions,
    Force,
    Json,
    Namespace,
    Percents,
    Release,
    To,
    grouped_options,
    helm_of,
    seconds_of,
    split_of,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import resumable
from bertqa_cli.values import Decimal

if TYPE_CHECKING:
    from bertqa_deploy.smoke import Smoke


_STEPS = re.compile(r"[0-9]{1,3}(?:,[0-9]{1,3})*")


@dataclass(frozen=True, slots=True)
class _Aim:
    """Where traffic has to go; no split means back to where it was."""

    split: Split | None
    retire: bool
    force: bool


@grouped_options
def switch(
    to: To = None,
    back: Back = False,
    split: Percents = None,
    retire: Annotated[
        bool, typer.Option("--retire", help="Stop serving the versions that get no traffic.")
    ] = False,
    force: Force = False,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    step_timeout: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long a step may take, as in 90s or 2m; 10m if left out.",
            show_default=False,
        ),
    ] = 600.0,
    release: Release = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    chart: Chart = DEFAULT_CHART,
    steps: Annotated[
        str,
        typer.Option(help="The percents of traffic at which to hold.", rich_help_panel="Cluster"),
    ] = "5,25,50,100",
    pause: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long to hold at each, as in 90s or 5m; 2m if left out.",
            show_default=False,
            rich_help_panel="Cluster",
        ),
    ] = 120.0,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A SQuAD file with questions to ask both tracks.",
            rich_help_panel="Cluster",
        ),
    ] = None,
    max_errors: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0, max=100),
            metavar="PERCENT",
            help="Failed requests of the new track in percent, at most.",
            rich_help_panel="Cluster",
        ),
    ] = 1.0,
    max_p95_factor: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0),
            metavar="FACTOR",
            help="Its 95th percentile of latency divided by the stable track's, at most.",
            rich_help_panel="Cluster",
        ),
    ] = 1.5,
    max_disagreement: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0, max=100),
            metavar="PERCENT",
            help="Answers that differ between the tracks in percent, at most.",
            rich_help_panel="Cluster",
        ),
    ] = 25.0,
    smoke_question: Annotated[
        str | None,
        typer.Option(help="A question that a version has to answer before it gets traffic."),
    ] = None,
    smoke_context: Annotated[str | None, typer.Option(help="The text that answers it.")] = None,
    smoke_answer: Annotated[
        str | None, typer.Option(help="What the answer has to contain.")
    ] = None,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """Move traffic to another version without a failed request.

    Run the same command again to resume an interrupted switch.
    """
    aim = _Aim(_split(to, back, split), retire, force)
    smoke = _smoke(smoke_question, smoke_context, smoke_answer)
    published = Repository(repository)
    if release is None:
        _on_server(aim, smoke, published, connection, step_timeout, json=json)
        return
    if connection.url is not None or retire:
        raise CommandError(
            "--url and --retire are for one server, not for a release.", status=Status.USAGE
        )

    from bertqa_deploy.manifests import check_manifest

    # The cluster's repository is out of reach: a copy of it here has the same manifests.
    for version in aim.split or ():
        check_manifest(published, version, connection.model, force=force)

    from bertqa_deploy.cluster.release import HelmCluster
    from bertqa_deploy.cluster.rollout import Limits, Rollout

    rollout = Rollout(
        HelmCluster(helm_of(release, namespace, chart), patience=step_timeout),
        smoke=smoke,
        steps=_steps(steps),
        pause_seconds=pause,
        limits=Limits(max_errors, max_p95_factor, max_disagreement),
        dataset=None if data is None else read_squad(data),
        on_step=print_step,
    )
    with resumable():
        tracks = rollout.back() if aim.split is None else rollout.move(aim.split)
    if json:
        print_json({"release": release, "namespace": namespace, "tracks": tracks})
        return
    for name, track in sorted(tracks.items()):
        stdout.print(f"track {escape(name)}: version {track['version']}, {track['weight']} %")


def _on_server(
    aim: _Aim,
    smoke: Smoke,
    repository: Repository,
    connection: ConnectionOptions,
    patience: float,
    *,
    json: bool,
) -> None:
    from bertqa_deploy.server import Server
    from bertqa_deploy.switch import Switch

    server = Server(
        connection.address,
        connection.metadata_url,
        security=connection.security(),
        timeout=connection.timeout,
        patience=patience,
    )
    operated = Switch(
        repository,
        server,
        model=connection.model,
        smoke=smoke,
        on_step=print_step,
    )
    with resumable():
        if aim.split is None:
            switched = operated.back(retire=aim.retire)
        else:
            switched = operated.move(aim.split, retire=aim.retire, force=aim.force)
    if json:
        print_json(switched.to_dict())
        return
    served = ", ".join(map(str, switched.served))
    stdout.print(
        f"[bold]Version {switched.default} is the default[/]: it answers clients that name no "
        f"version. Those that follow the split go by {format_split(switched.split)}. "
        f"Served: {served}. {switched.seconds:.1f} s."
    )
    stdout.print("[dim]bert-qa switch --back returns to what was before.[/]")


def _split(to: int | None, back: bool, split: str | None) -> Split | None:
    if sum((to is not None, back, split is not None)) != 1:
        raise CommandError(
            "Name the target: exactly one of --to VERSION, --split 1=90,2=10 and --back.",
            status=Status.USAGE,
        )
    return split_of(to, split)


def _smoke(question: str | None, context: str | None, answer: str | None) -> Smoke:
    from bertqa_deploy.smoke import Smoke

    given: dict[str, Any] = {"question": question, "context": context, "answer": answer}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return Smoke()
    if missing:
        names = " and ".join(f"--smoke-{name}" for name in missing)
        raise CommandError(f"The smoke question lacks {names}.", status=Status.USAGE)
    return Smoke(**given)


def _steps(text: str) -> tuple[int, ...]:
    if not _STEPS.fullmatch(text):
        raise CommandError(
            f"The steps {text!r} cannot be read: write percents, as in 5,25,50,100.",
            status=Status.USAGE,
        )
    return tuple(map(int, text.split(",")))
