"""Every option that more than one verb has, so that one word means one thing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertqa.artifact import MODEL_NAME, Split, parse_split
from bertqa_cli.errors import CommandError
from bertqa_cli.values import (
    Whole,
    model_name,
    output_directory,
)

if TYPE_CHECKING:
    from bertqa.artifact import Repository as ModelRepository
    from bertqa_deploy.cluster.helm import Helm

DEFAULT_REPOSITORY = Path("model_repository")
DEFAULT_MODEL = MODEL_NAME
# That of HELM_NAMESPACE, or of the kubeconfig's context.
DEFAULT_NAMESPACE: str | None = None
DEFAULT_CHART = Path("deploy/helm/bert-qa")
HELM_VARIABLE = "HELM"

_ALL = 100.0
_CLUSTER = "Cluster"


Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Model = Annotated[str, typer.Option(callback=model_name, help="The model's name.")]
Repository = Annotated[
    Path, typer.Option(file_okay=False, help="The model repository, in the layout of OVMS.")
]
Destination = Annotated[
    Path,
    typer.Option(
        "--repository",
        callback=output_directory,
        file_okay=False,
        help="The model repository, in the layout of OVMS.",
    ),
]
Version = Annotated[
    int | None,
    typer.Option(
        click_type=Whole(min=1),
        metavar="N",
        help="The model version; the server's default if left out.",
    ),
]
To = Annotated[
    int | None,
    typer.Option(click_type=Whole(min=1), metavar="N", help="The version that gets all traffic."),
]
Back = Annotated[bool, typer.Option("--back", help="Return to the split before the last one.")]
Percents = Annotated[
    str | None, typer.Option(metavar="1=90,2=10", help="Percents of the traffic by version.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Accept a version that failed the quality gate.")
]
Release = Annotated[
    str | None,
    typer.Option(help="A Helm release of the chart, in a cluster.", rich_help_panel=_CLUSTER),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="The namespace of the release; by default HELM_NAMESPACE, or the context's own.",
        show_default=False,
        rich_help_panel=_CLUSTER,
    ),
]
Chart = Annotated[
    Path,
    typer.Option(help="The chart that the release was installed from.", rich_help_panel=_CLUSTER),
]


def split_of(to: int | None, split: str | None) -> Split | None:
    """Return the split that --to or --split names, None where neither does.

    Args:
        to: The version that gets all traffic.
        split: Percent of the traffic by version, such as `1=90,2=10`.

    Raises:
        InvalidOptionError: The split cannot be read.
    """
    if to is not None:
        return {to: _ALL}
    return None if split is None else parse_split(split)


def helm_of(release: str, namespace: str | None, chart: Path = DEFAULT_CHART) -> Helm:
    """Return the release; the variable HELM names the program where it is not on PATH.

    Args:
        release: The name of the Helm release.
        namespace: The Kubernetes namespace that it is in; None for that of HELM_NAMESPACE or of the
            kubeconfig's context.
        chart: The folder of the chart.

    Raises:
        CommandError: The extra `deploy` is not installed.
        ClusterError: The configuration of the cluster cannot be read, or contradicts itself.
    """
    try:
        from bertqa_deploy.cluster.access import find_access
        from bertqa_deploy.cluster.helm import Helm
    except ModuleNotFoundError as error:
        raise CommandError(
            "A release needs the extra 'deploy': from a clone of the project, run "
            "pip install '.[deploy]'.",
            detail=str(error),
        ) from error
    access = find_access(namespace)
    return Helm(release, access, chart, program=os.environ.get(HELM_VARIABLE, "helm"))


def require_repository(repository: ModelRepository) -> None:
    """Refuse a model repository that is not there.

    Args:
        repository: The repository.

    Raises:
        CommandError: There is no such directory.
    """
    if not repository.root.is_dir():
        raise CommandError(
            f"There is no model repository {repository.root}. `bert-qa build` makes one."
        )
