"""What a command will send to Azure: documents, composed without a request to Azure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.files import Document, Files
from bertqa_deploy.azureml.versions import deployment_name

AZURE_SCHEME = "azureml:"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A job or a sweep, and what it needs.

    Attributes:
        environment: The image of the job.
        data: The data asset that is registered where the job uses it.
        job: The job or sweep.
        new_data: Whether `data` is a folder that the command line names.
    """

    environment: Document
    data: Document
    job: Document
    new_data: bool = False

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents, in the order in which they are sent."""
        return self.environment, self.data, self.job


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """One version behind an endpoint, and what it needs.

    Attributes:
        environment: The image of the server.
        model: The version, as a model asset.
        endpoint: The endpoint.
        deployment: The version's deployment behind it.
    """

    environment: Document
    model: Document
    endpoint: Document
    deployment: Document

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents, in the order in which they are sent."""
        return self.environment, self.model, self.endpoint, self.deployment


def plan_training(
    files: Files,
    *,
    sweep: bool = False,
    name: str | None = None,
    recipe: Path | None = None,
    data: str | None = None,
    compute: str | None = None,
    after: int = 0,
) -> TrainingPlan:
    """Plan a training job.

    Args:
        files: Azure's YAML files.
        sweep: Plan a sweep over the hyperparameters instead of one job.
        name: The job's name; Azure makes one up by default.
        recipe: The recipe; that of the job's file by default.
        data: A folder with SQuAD JSON, or an asset of the workspace as `azureml:NAME:VERSION`; the
            asset of the job's file by default.
        compute: The compute cluster's name; that of the job's file by default.
        after: The number before the first version that the job publishes.

    Returns:
        The job or sweep, its image and its data asset.

    Raises:
        AzureFileError: One of Azure's files is missing or not valid.
        InvalidOptionError: The recipe or the folder does not exist.
    """
    changes: dict[str, Any] = {"inputs.after": after}
    folder = None
    if name is not None:
        changes["name"] = name
    if compute is not None:
        changes["compute"] = AZURE_SCHEME + compute.removeprefix(AZURE_SCHEME)
    if recipe is not None:
        if not recipe.is_file():
            raise InvalidOptionError(f"There is no recipe {recipe}.")
        changes["inputs.recipe.path"] = str(recipe.absolute())
    if data is not None and data.startswith(AZURE_SCHEME):
        changes["inputs.data.path"] = data
    elif data is not None:
        folder = Path(data)
        if not folder.is_dir():
            raise InvalidOptionError(f"There is no folder {data} with data in SQuAD JSON.")
    return TrainingPlan(
        environment=files.read("environment-build"),
        data=files.read("data", {} if folder is None else {"path": str(folder.absolute())}),
        job=files.read("sweep" if sweep else "job", changes),
        new_data=folder is not None,
    )


def plan_serving(
    files: Files,
    version: int,
    *,
    endpoint: str | None = None,
    job: str | None = None,
    repository: Path | None = None,
) -> ServingPlan:
    """Plan the deployment of a version.

    The uploaded directory has the version's number as its name, from which OVMS reads the number.

    Args:
        files: Azure's YAML files.
        version: The version.
        endpoint: The endpoint's name; that of `endpoint.yml` by default.
        job: The job whose output holds the version.
        repository: A local repository that holds it; that of `model.yml` by default.

    Returns:
        The model, the environment, the endpoint and the deployment.

    Raises:
        AzureFileError: One of Azure's files is missing or not valid.
    """
    model = files.read("model", {"version": str(version)})
    model_name = model.name
    if job is not None:
        model.content["path"] = (
            f"azureml://jobs/{job}/outputs/repository/paths/{model_name}/{version}"
        )
    elif repository is not None:
        model.content["path"] = str((repository / model_name / str(version)).absolute())
    else:
        model.content["path"] = str(Path(model.content["path"]).with_name(str(version)))
    endpoint_document = plan_endpoint(files, endpoint)
    deployment = files.read(
        "deployment",
        {
            "name": deployment_name(version),
            "endpoint_name": endpoint_document.name,
            "model": f"{AZURE_SCHEME}{model_name}:{version}",
        },
    )
    return ServingPlan(files.read("environment-serve"), model, endpoint_document, deployment)


def plan_endpoint(
    files: Files,
    name: str | None = None,
    traffic: dict[str, int] | None = None,
    mirror: dict[str, int] | None = None,
) -> Document:
    """Plan an endpoint.

    Args:
        files: Azure's YAML files.
        name: Its name; that of `endpoint.yml` by default.
        traffic: Percent of the traffic by deployment.
        mirror: Percent of the requests that a deployment gets a copy of, by deployment.

    Returns:
        The endpoint, as `az ml online-endpoint` reads it.

    Raises:
        AzureFileError: `endpoint.yml` is missing or not valid.
    """
    changes = {"name": name, "traffic": traffic, "mirror_traffic": mirror}
    return files.read(
        "endpoint", {key: value for key, value in changes.items() if value is not None}
    )
