"""Options of the verbs that work on a Helm release as well as on one server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bertqa_cli.errors import CommandError

if TYPE_CHECKING:
    from bertqa_deploy.cluster.helm import Helm

Release = Annotated[str | None, typer.Option(help="A Helm release of the chart, in a cluster.")]
Namespace = Annotated[str, typer.Option(help="The release's namespace.")]
Chart = Annotated[Path, typer.Option(help="The chart that the release was installed from.")]

DEFAULT_NAMESPACE = "default"
DEFAULT_CHART = Path("deploy/helm/bert-qa")
HELM = "HELM"


def helm_of(release: str, namespace: str, chart: Path = DEFAULT_CHART) -> Helm:
    """Return the release; HELM names the program where it is not on PATH."""
    try:
        from bertqa_deploy.cluster.helm import Helm
    except ModuleNotFoundError as error:
        raise CommandError(
            "A release needs the extra 'deploy': from a clone of the project, run "
            "pip install '.[deploy]'.",
            detail=str(error),
        ) from error
    return Helm(release, namespace, chart, program=os.environ.get(HELM, "helm"))
