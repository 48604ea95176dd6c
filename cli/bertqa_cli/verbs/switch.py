"""`bert-qa switch`: move traffic to another version, on a server or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertqa.artifact import Repository, Split, VerifyKey
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_document, print_json, print_step, stderr
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import (
    DEFAULT_CHART,
    DEFAULT_NAMESPACE,
    DEFAULT_REPOSITORY,
    Back,
    Chart,
    Force,
    Json,
    Namespace,
    Percents,
    Release,
    To,
    helm_of,
    split_of,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import working
from bertqa_cli.rollouts import (
    PAUSE_SECONDS,
    MakeEvidence,
    RolloutOptions,
    ShowStatus,
    moved_by,
    print_moved,
    print_standing,
)
from bertqa_cli.signatures import VerifyWith, read_key
from bertqa_cli.values import (
    FOR_CHANGES,
    FOR_RELEASE,
    FOR_SERVER,
    refuse_typed,
    refuse_typed_beside,
    timeout_seconds,
)
from bertqa_cli.verb import alone, typed_arguments

if TYPE_CHECKING:
    from bertqa_deploy.cluster.helm import Helm
    from bertqa_deploy.rollout import Moved, Standing
    from bertqa_deploy.server import Server
    from bertqa_deploy.smoke import Smoke

_STEPS = (5, 25, 50, 100)


@dataclass(frozen=True, slots=True)
class _Aim:
    """Where traffic has to go; no split means back to where it was."""

    split: Split | None
    retire: bool
    force: bool
    key: VerifyKey | None


@grouped_options
def switch(
    to: To = None,
    back: Back = False,
    split: Percents = None,
    status: ShowStatus = False,
    retire: Annotated[
        bool, typer.Option("--retire", help="Stop serving the versions that get no traffic.")
    ] = False,
    force: Force = False,
    verify_with: VerifyWith = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    step_timeout: Annotated[
        float,
        typer.Option(
            parser=timeout_seconds,
            metavar="DURATION",
            help="How long a step may take, as in 90s or 2m; 10m if left out.",
            show_default=False,
        ),
    ] = 600.0,
    release: Release = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    chart: Chart = DEFAULT_CHART,
    in_cluster: Annotated[
        bool,
        typer.Option(
            "--in-cluster",
            help="Run it as a Job beside the release, which continues without this command.",
            rich_help_panel="Cluster",
        ),
    ] = False,
    smoke_question: Annotated[
        str | None,
        typer.Option(help="A question that a version has to answer before it gets traffic."),
    ] = None,
    smoke_context: Annotated[str | None, typer.Option(help="The text that answers it.")] = None,
    smoke_answer: Annotated[
        str | None, typer.Option(help="What the answer has to contain.")
    ] = None,
    *,
    options: RolloutOptions,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """Move traffic to another version without a failed request.

    Run the same command again to resume an interrupted switch; --back undoes it; --status shows
    where it stands.
    """
    if status:
        with working("Asking where it stands"):
            standing = _standing(release, namespace, repository, connection)
        print_standing(standing, json=json)
        return
    aim = _Aim(_split(to, back, split), retire, force, read_key(VerifyKey, verify_with))
    smoke = _smoke(smoke_question, smoke_context, smoke_answer)
    options.plan(_STEPS, PAUSE_SECONDS)  # Checked before anything is looked at.
    kinds = options.evidence()
    published = Repository(repository)
    if release is None and in_cluster:
        raise CommandError("--in-cluster is for a --release.", status=Status.USAGE)
    if in_cluster and options.shadow is not None:
        raise CommandError(
            "--shadow reads a file of this machine, which --in-cluster does not have.",
            status=Status.USAGE,
        )
    if release is None:
        refuse_typed({"namespace", "chart"}, FOR_RELEASE)
        moved = _on_server(aim, smoke, published, connection, step_timeout, options, kinds)
        remark = f"Version {moved.default} is the default: it answers clients that name no version."
        print_moved(moved, remark, json=json)
        return
    connection.refuse(FOR_SERVER)
    refuse_typed({"retire"}, FOR_SERVER)

    from bertqa_deploy.manifests import check_manifest

    # The cluster's repository is out of reach: a copy of it here has the same manifests.
    for version in aim.split or ():
        check_manifest(published, version, connection.model, force=force, key=aim.key)

    helm = helm_of(release, namespace, chart)
    if in_cluster:
        _in_cluster(helm, options.data, json=json)
        return
    from bertqa_deploy.cluster.release import HelmCluster
    from bertqa_deploy.cluster.target import ReleaseTarget
    from bertqa_deploy.cluster.traffic import release_of
    from bertqa_deploy.rollout import AT_ONCE
    from bertqa_deploy.waiting import named

    cluster = HelmCluster(helm, patience=step_timeout, on_wait=print_step)
    target = ReleaseTarget(cluster, smoke=smoke, on_step=print_step)
    release_now = release_of(cluster.values())
    unready = target.unready(release_now) if aim.split is not None else set()
    steps = _STEPS if release_now.weighted and not unready else AT_ONCE
    plan = options.plan(steps, PAUSE_SECONDS)
    if unready:
        print_step(
            f"{named(unready)} {'has' if len(unready) == 1 else 'have'} traffic, but no pod that "
            "is ready: a step keeps that part of the requests failing, so by default there is none"
        )
    elif aim.split is not None and plan.steps != AT_ONCE and not release_now.routed:
        print_step(
            "without a gateway the HTTP API alone splits by the weights: all others reach the "
            "version that has the most (where nobody asks over HTTP, --steps 100 leads all at once)"
        )
    print_moved(moved_by(target, aim.split, plan, kinds), json=json)


def _standing(
    release: str | None, namespace: str | None, repository: Path, connection: ConnectionOptions
) -> Standing:
    """Return where the rollout of a release, or else of a server, stands."""
    if release is not None:
        refuse_typed_beside({"status", "release", "namespace", "model"}, FOR_CHANGES)

        from bertqa_deploy.cluster.status import standing_of as standing_of_release

        return standing_of_release(helm_of(release, namespace))
    connected = {each.name for each in fields(connection)}
    refuse_typed_beside({"status", "repository", *connected}, FOR_CHANGES)

    from bertqa_deploy.config_file import standing_of

    server = _server(connection, connection.timeout)
    return standing_of(Repository(repository), server, connection.model)


def _server(connection: ConnectionOptions, patience: float) -> Server:
    from bertqa_deploy.server import Server

    return Server(
        connection.address,
        connection.metadata_url,
        security=connection.security(),
        timeout=connection.timeout,
        patience=patience,
    )


def _on_server(
    aim: _Aim,
    smoke: Smoke,
    repository: Repository,
    connection: ConnectionOptions,
    patience: float,
    options: RolloutOptions,
    kinds: list[MakeEvidence],
) -> Moved:
    from bertqa_deploy.config_file import ConfigTarget
    from bertqa_deploy.rollout import AT_ONCE

    with ConfigTarget(
        repository,
        _server(connection, patience),
        model=connection.model,
        smoke=smoke,
        retire=aim.retire,
        force=aim.force,
        key=aim.key,
        on_step=print_step,
    ) as target:
        return moved_by(target, aim.split, options.plan(AT_ONCE, 0.0), kinds)


def _in_cluster(helm: Helm, data: str | None, *, json: bool) -> None:
    from bertqa_deploy.cluster.job import start_or_attach

    ended = start_or_attach(
        helm,
        typed_arguments(),
        None if data is None else Path(data),
        on_line=lambda line: stderr.print(line, markup=False, highlight=False, soft_wrap=True),
        on_step=print_step,
    )
    if json and ended.document:
        print_document(ended.document)
    elif json:
        missing = "The switch in the cluster has ended, and its log does not hold its result."
        print_json({"error": missing, "detail": None, "status": ended.status})
    raise typer.Exit(ended.status)


def _split(to: int | None, back: bool, split: str | None) -> Split | None:
    if sum((to is not None, back, split is not None)) != 1:
        raise CommandError(
            "Name the target: exactly one of --to VERSION, --split 1=90,2=10 and --back. "
            "--status shows where it is now.",
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


app = alone(switch)
