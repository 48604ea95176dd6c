"""`bert-qa switch`: move traffic to another version, on a server or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from bertqa.artifact import Repository, Split, format_split
from bertqa.evaluation import read_squad
from bertqa_cli.console import print_json, stderr, stdout
from bertqa_cli.durations import seconds_of
from bertqa_cli.errors import CommandError, Status, refused_by
from bertqa_cli.options import (
    DEFAULT_MODEL,
    DEFAULT_REPOSITORY,
    DEFAULT_URL,
    Json,
    MetadataUrl,
    Model,
    OptionalUrl,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.release_options import (
    DEFAULT_CHART,
    DEFAULT_NAMESPACE,
    Chart,
    Namespace,
    Release,
    helm_of,
)
from bertqa_cli.traffic_options import Back, Force, Percents, To, split_of

if TYPE_CHECKING:
    from bertqa_deploy.smoke import Smoke


@dataclass(frozen=True, slots=True)
class _Aim:
    """Where traffic is to go; no split means back to where it was."""

    split: Split | None
    retire: bool
    force: bool


def switch(
    to: To = None,
    back: Back = False,
    split: Percents = None,
    retire: Annotated[
        bool, typer.Option("--retire", help="Stop serving the versions that get no traffic.")
    ] = False,
    force: Force = False,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    url: OptionalUrl = None,
    metadata_url: MetadataUrl = None,
    model: Model = DEFAULT_MODEL,
    timeout: Annotated[str, typer.Option(help="How long a step may take, like 5m.")] = "10m",
    release: Release = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    chart: Chart = DEFAULT_CHART,
    steps: Annotated[
        str, typer.Option(help="On a cluster: the percents at which to hold.")
    ] = "5,25,50,100",
    pause: Annotated[str, typer.Option(help="On a cluster: how long to hold.")] = "2m",
    data: Annotated[
        Path | None,
        typer.Option(help="On a cluster: a SQuAD file whose questions both tracks are asked."),
    ] = None,
    max_errors: Annotated[
        float, typer.Option(min=0, max=100, help="On a cluster: failed requests in percent.")
    ] = 1.0,
    max_p95_factor: Annotated[
        float, typer.Option(min=0, help="On a cluster: 95th percentile against the stable one's.")
    ] = 1.5,
    max_disagreement: Annotated[
        float, typer.Option(min=0, max=100, help="On a cluster: unlike answers in percent.")
    ] = 25.0,
    smoke_question: Annotated[
        str | None, typer.Option(help="What a version has to answer before it gets traffic.")
    ] = None,
    smoke_context: Annotated[str | None, typer.Option(help="The text that answers it.")] = None,
    smoke_answer: Annotated[str | None, typer.Option(help="What the answer contains.")] = None,
    json: Json = False,
) -> None:
    """Move traffic to another version without a failed request; run it again to resume."""
    aim = _Aim(_split(to, back, split), retire, force)
    smoke = _smoke(smoke_question, smoke_context, smoke_answer)
    patience = seconds_of(timeout)

    from bertqa_deploy.errors import QualityGateError
    from bertqa_deploy.manifests import check_manifest

    place = Repository(repository)
    with refused_by(QualityGateError):
        if release is None:
            address = url or DEFAULT_URL
            _on_server(aim, smoke, place, address, metadata_url, model, patience, json=json)
            return
        if url is not None or retire:
            raise CommandError(
                "--url and --retire are for one server, not for a release.", status=Status.USAGE
            )
        # The cluster's repository is out of reach; a copy of it here tells what its manifests say.
        for version in aim.split or ():
            check_manifest(place, version, model, force=force)

    from bertqa_deploy.cluster.rollout import HelmCluster, Limits, Rollout

    rollout = Rollout(
        HelmCluster(helm_of(release, namespace, chart), patience=patience),
        smoke=smoke,
        steps=_steps(steps),
        pause_seconds=seconds_of(pause),
        limits=Limits(max_errors, max_p95_factor, max_disagreement),
        dataset=None if data is None else read_squad(data),
        on_step=_show_step,
    )
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
    url: str,
    metadata_url: str | None,
    model: str,
    patience: float,
    *,
    json: bool,
) -> None:
    from bertqa_deploy.server import Server
    from bertqa_deploy.switch import Switch

    operated = Switch(
        repository,
        Server(url, metadata_url, patience=patience),
        model=model,
        smoke=smoke,
        on_step=_show_step,
    )
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
            "Say where to: exactly one of --to VERSION, --split 1=90,2=10 and --back.",
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
    try:
        return tuple(int(step) for step in text.split(","))
    except ValueError as error:
        raise CommandError(
            f"The steps {text!r} cannot be read: write percents, as in 5,25,50,100.",
            status=Status.USAGE,
        ) from error


def _show_step(sentence: str) -> None:
    stderr.print(f"[cyan]•[/] {escape(sentence)}")
