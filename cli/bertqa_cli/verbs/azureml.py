"""`bert-qa azureml`: train, publish, serve and switch in Azure Machine Learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bertqa.artifact import Repository, Split, VerifyKey
from bertqa_cli.console import print_json, print_step, print_text, stdout
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import Back, Force, Json, Percents, To, split_of
from bertqa_cli.rollouts import (
    RolloutOptions,
    ShowStatus,
    moved_by,
    print_moved,
    print_standing,
)
from bertqa_cli.signatures import VerifyWith, read_key
from bertqa_cli.values import FOR_CHANGES, Whole, refuse_typed, refuse_typed_beside
from bertqa_cli.verb import Verb, VerbGroup

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from bertqa_deploy.azureml.endpoints import Endpoint as EndpointState
    from bertqa_deploy.azureml.files import Document
    from bertqa_deploy.azureml.plans import TrainingPlan
    from bertqa_deploy.rollout import Standing

Folder = Annotated[
    Path,
    typer.Option(
        "--files", exists=True, file_okay=False, help="The folder with Azure's YAML files."
    ),
]
Endpoint = Annotated[
    str | None, typer.Option(help="The endpoint's name; that of endpoint.yml if left out.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be sent to Azure, without a request.")
]
Subscription = Annotated[str | None, typer.Option(help="The id of the Azure subscription.")]
ResourceGroup = Annotated[str | None, typer.Option(help="The workspace's resource group.")]
Workspace = Annotated[
    str | None,
    typer.Option(help="The workspace; all three default to Azure's variables or its config.json."),
]

DEFAULT_FOLDER = Path("deploy/azureml")
_WORKSPACE = ("subscription", "resource_group", "workspace")

app = typer.Typer(
    cls=VerbGroup,
    add_completion=False,
    no_args_is_help=True,
    help="Train, publish, serve and switch in Azure Machine Learning.",
)


@app.command(cls=Verb)
def submit(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Try learning rates and the teacher's share.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="The job's name; with it, the same command finds its job again."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="The recipe; that of the job's file if left out."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A folder with SQuAD JSON, or an asset, azureml:NAME:VERSION."),
    ] = None,
    compute: Annotated[str | None, typer.Option(help="The compute cluster's name.")] = None,
    after: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=0),
            help="The highest version so far; that of the workspace's models if left out.",
        ),
    ] = None,
    new_environment: Annotated[
        bool,
        typer.Option("--new-environment", help="Build the image again, after the code changed."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job's end.")] = False,
    files: Folder = DEFAULT_FOLDER,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train: a recipe and questions become a model repository, the job's output."""
    from bertqa_deploy.azureml.files import Files
    from bertqa_deploy.azureml.plans import plan_training

    azure_files = Files(files)

    def plan(after: int) -> TrainingPlan:
        return plan_training(
            azure_files,
            sweep=sweep,
            name=name,
            recipe=recipe,
            data=data,
            compute=compute,
            after=after,
        )

    planned = plan(after or 0)
    if dry_run:
        _print_documents(planned.documents, json=json)
        return
    from bertqa_deploy.azureml import jobs

    client = _connect(subscription, resource_group, workspace)
    if after is None:
        planned = plan(jobs.highest_version(client, azure_files.read("model").name))
    submitted = jobs.submit(client, planned, new_environment=new_environment, on_step=print_step)
    if wait:
        submitted = jobs.wait(client, submitted, on_step=print_step)
    if json:
        print_json(submitted.to_dict())
        return
    stdout.print(f"[bold]{escape(submitted.name)}[/] is {escape(submitted.status)}")
    stdout.print(escape(submitted.studio_url))
    fp32, int8 = submitted.after + 1, submitted.after + 2
    stdout.print(
        f"[dim]Its versions are {fp32} (FP32) and {int8} (INT8). Next: bert-qa azureml deploy "
        f"--version {int8} --job {escape(submitted.name)}[/]"
    )


@app.command(cls=Verb)
def deploy(
    version: Annotated[
        int, typer.Option(click_type=Whole(min=1), metavar="N", help="The version to serve.")
    ],
    job: Annotated[
        str | None, typer.Option(help="The job, or sweep, whose output holds the version.")
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A local model repository that holds it; that of model.yml if left out.",
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Bring the deployment that is there to deployment.yml."),
    ] = False,
    force: Force = False,
    verify_with: VerifyWith = None,
    endpoint: Endpoint = None,
    files: Folder = DEFAULT_FOLDER,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Publish and serve a version behind the endpoint, beside the others, without traffic yet."""
    if job is not None and repository is not None:
        raise CommandError("Use --job or --repository, not both.", status=Status.USAGE)
    if job is not None:
        refuse_typed({"verify_with"}, "for a version of this machine, not for that of a --job.")
    key = read_key(VerifyKey, verify_with)
    from bertqa_deploy.azureml.files import Files
    from bertqa_deploy.azureml.plans import plan_serving

    azure_files = Files(files)
    planned = plan_serving(azure_files, version, endpoint=endpoint, job=job, repository=repository)
    if dry_run:
        _print_documents(planned.documents, json=json)
        return
    if job is None:
        _check_manifest(planned.model, version, force=force, key=key)
    from bertqa_deploy.azureml import endpoints, jobs

    client = _connect(subscription, resource_group, workspace)
    if job is not None:
        best = jobs.job_with_versions(client, job)
        planned = plan_serving(azure_files, version, endpoint=endpoint, job=best)
    deployed = endpoints.deploy(client, planned, update=update, on_step=print_step)
    _print_endpoint(deployed, json=json)
    if not json:
        stdout.print(f"[dim]Next: bert-qa azureml switch --to {version}[/]")


@app.command(cls=Verb)
@grouped_options
def switch(
    to: To = None,
    back: Back = False,
    split: Percents = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="2=10",
            help="A version without traffic, and the percent of requests it gets a copy of.",
        ),
    ] = None,
    status: ShowStatus = False,
    endpoint: Endpoint = None,
    files: Folder = DEFAULT_FOLDER,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    dry_run: DryRun = False,
    *,
    options: RolloutOptions,
    json: Json = False,
) -> None:
    """Move traffic between deployed versions without a failed request.

    Run the same command again to resume an interrupted switch; --back undoes it; --status shows
    where it stands.
    """
    if status:
        refuse_typed_beside({"status", "endpoint", "files", *_WORKSPACE}, FOR_CHANGES)
        client = _connect(subscription, resource_group, workspace)
        print_standing(_standing(client, files, endpoint), json=json)
        return
    wanted = _split(to, back, split, mirror)

    from bertqa_deploy.azureml.files import Files
    from bertqa_deploy.azureml.plans import plan_endpoint
    from bertqa_deploy.azureml.versions import parse_mirror, to_traffic

    copies = None if mirror is None else parse_mirror(mirror)
    traffic = None if wanted is None else to_traffic(wanted)
    planned = plan_endpoint(Files(files), endpoint, traffic, copies)
    plan = options.plan((100,), 0.0)
    kinds = options.evidence()
    if dry_run and not back:
        _print_documents([planned], json=json)
        return
    from bertqa_deploy.azureml import endpoints
    from bertqa_deploy.azureml.target import EndpointTarget

    client = _connect(subscription, resource_group, workspace)
    if dry_run:
        traffic = to_traffic(EndpointTarget(client, planned.name).current().memory.way_back())
        _print_documents([plan_endpoint(Files(files), endpoint, traffic, copies)], json=json)
        return
    moved = None
    if wanted is not None or back:
        target = EndpointTarget(client, planned.name, on_step=print_step)
        if copies:
            memory = target.current().memory
            nowhere = memory.goal is None and memory.previous is None
            goal = wanted or (memory.good if nowhere else memory.way_back())
            endpoints.require_mirrorable(client, planned.name, copies, to_traffic(goal))
        # Where that was done before, the copies may be left, as after a command that was killed.
        moved = moved_by(target, wanted, plan, kinds)
    mirrored = None
    if copies is not None:
        mirrored = endpoints.mirror(client, planned.name, copies, on_step=print_step)
    if moved is not None and mirrored is not None and json:
        print_json({**moved.to_dict(), "mirror": dict(mirrored.mirror)})
        return
    if moved is not None:
        print_moved(moved, json=json)
    if mirrored is not None:
        _print_endpoint(mirrored, json=json)


@app.command(cls=Verb)
def delete(
    version: Annotated[
        int | None,
        typer.Option(click_type=Whole(min=1), metavar="N", help="The version to delete."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The endpoint, with all its versions.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete even what gets traffic.")] = False,
    endpoint: Endpoint = None,
    files: Folder = DEFAULT_FOLDER,
    subscription: Subscription = None,
    resource_group: ResourceGroup = None,
    workspace: Workspace = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Delete a version's deployment, or the whole endpoint; models and jobs stay."""
    if everything == (version is not None):
        raise CommandError("Use exactly one of --version N and --all.", status=Status.USAGE)
    from bertqa_deploy.azureml.files import Files
    from bertqa_deploy.azureml.plans import plan_endpoint
    from bertqa_deploy.azureml.versions import deployment_name

    name = plan_endpoint(Files(files), endpoint).name
    deployment = None if version is None else deployment_name(version)
    target = {"endpoint": name, "deployment": deployment}
    if dry_run and json:
        print_json({**target, "deleted": None, "is_dry_run": True})
        return
    if dry_run:
        print_text(f"delete: {deployment or 'everything'} of the endpoint {name}")
        return
    from bertqa_deploy.azureml import endpoints

    client = _connect(subscription, resource_group, workspace)
    deleted = (
        endpoints.delete_endpoint(client, name, force=force)
        if deployment is None
        else endpoints.delete_deployment(client, name, deployment, force=force)
    )
    if json:
        print_json({**target, "deleted": deleted, "is_dry_run": False})
        return
    what = deployment or name
    stdout.print(f"{escape(what)} {'is deleted' if deleted else 'was not there'}")


def _connect(
    subscription: str | None, resource_group: str | None, workspace: str | None
) -> MLClient:
    from bertqa_deploy.azureml.workspace import WorkspaceName, connect

    return connect(WorkspaceName(subscription, resource_group, workspace))


def _standing(client: MLClient, files: Path, endpoint: str | None) -> Standing:
    from bertqa_deploy.azureml.files import Files
    from bertqa_deploy.azureml.plans import plan_endpoint
    from bertqa_deploy.azureml.target import EndpointTarget

    return EndpointTarget(client, plan_endpoint(Files(files), endpoint).name).standing()


def _split(to: int | None, back: bool, split: str | None, mirror: str | None) -> Split | None:
    ways = sum((to is not None, back, split is not None))
    if ways > 1 or (ways == 0 and mirror is None):
        raise CommandError(
            "Use exactly one of --to VERSION, --split 1=90,2=10 and --back, or "
            "--mirror 2=10 with or without one. --status shows where it is now.",
            status=Status.USAGE,
        )
    return split_of(to, split)


def _check_manifest(model: Document, version: int, *, force: bool, key: VerifyKey | None) -> None:
    from bertqa_deploy.manifests import check_manifest

    directory = Path(model.content["path"])
    repository = Repository(directory.parents[1])
    if not repository.root.is_dir() and key is None:
        return
    check_manifest(repository, version, directory.parent.name, force=force, key=key)


def _print_documents(documents: Sequence[Document], *, json: bool) -> None:
    """Print documents that the SDK has loaded, and so found valid."""
    for document in documents:
        document.load()
    if json:
        print_json({"documents": [document.content for document in documents]})
        return
    print_text("---\n".join(document.to_yaml() for document in documents).rstrip("\n"))


def _print_endpoint(endpoint: EndpointState, *, json: bool) -> None:
    if json:
        print_json(endpoint.to_dict())
        return
    stdout.print(f"[bold]{escape(endpoint.name)}[/]: {escape(endpoint.scoring_uri)}")
    for name, percent in sorted(endpoint.traffic.items()):
        stdout.print(f"{escape(name)}: {percent} %")
    for name, percent in sorted(endpoint.mirror.items()):
        stdout.print(f"{escape(name)}: a copy of {percent} %")
