"""What a command will ask Azure for: documents, made without asking Azure anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.files import Document, Files
from bertqa_deploy.azureml.versions import deployment_name

AZURE_SCHEME = "azureml:"


@dataclass(frozen=True, slots=True)
class Training:
    """A job or a sweep, and what it takes."""

    environment: Document
    data: Document
    job: Document

    @property
    def documents(self) -> tuple[Document, ...]:
        """All of them, in the order in which Azure is given them."""
        return self.environment, self.data, self.job


@dataclass(frozen=True, slots=True)
class Serving:
    """One version behind an endpoint, and what it takes."""

    environment: Document
    model: Document
    endpoint: Document
    deployment: Document

    @property
    def documents(self) -> tuple[Document, ...]:
        """All of them, in the order in which Azure is given them."""
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
) -> Training:
    """Plan a training job whose first version has the number `after` + 1.

    `data` is a folder with SQuAD JSON, or an asset of the workspace as `azureml:NAME:VERSION`.
    Raises AzureFileError, and InvalidOptionError where a recipe or a folder is not there.
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
    return Training(
        environment=files.read("environment-build"),
        data=files.read("data", {} if folder is None else {"path": str(folder.absolute())}),
        job=files.read("sweep" if sweep else "job", changes),
    )


def plan_serving(
    files: Files,
    version: int,
    *,
    endpoint: str | None = None,
    job: str | None = None,
    repository: Path | None = None,
) -> Serving:
    """Plan a deployment of a version, from a job's output or a local repository.

    The directory that is uploaded is called as the version is, for OVMS takes its name for the
    version's number. Raises AzureFileError.
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
    return Serving(files.read("environment-serve"), model, endpoint_document, deployment)


def plan_endpoint(
    files: Files,
    name: str | None = None,
    traffic: dict[str, int] | None = None,
    mirror: dict[str, int] | None = None,
) -> Document:
    """Plan the endpoint, with its traffic by deployment where that is said.

    Raises AzureFileError.
    """
    said = {"name": name, "traffic": traffic, "mirror_traffic": mirror}
    return files.read("endpoint", {key: value for key, value in said.items() if value is not None})
