"""Training jobs: submission, and waiting for the end."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from azure.ai.ml import MLClient

from bertqa_deploy.azureml.files import Document
from bertqa_deploy.azureml.plans import TrainingPlan
from bertqa_deploy.azureml.workspace import text_of, translated_errors
from bertqa_deploy.errors import AzureError, AzureNotFoundError
from bertqa_deploy.rollout import OnStep

COMPLETED = "Completed"
_ENDED = (COMPLETED, "Failed", "Canceled", "NotResponding", "Paused")
_POLL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """The state of a job in Azure.

    Attributes:
        name: The job's name, unique in its workspace.
        status: Azure's word for its state, such as `Running`.
        studio_url: The job's page in Azure ML studio.
        after: The number before the job's first version: `after` + 1 is FP32, `after` + 2 INT8.
    """

    name: str
    status: str
    studio_url: str
    after: int

    def to_dict(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return asdict(self)


def highest_version(client: MLClient, model: str) -> int:
    """Return the highest version of a model asset.

    Args:
        client: The workspace.
        model: The asset's name.

    Returns:
        The number; 0 where the workspace has no version.

    Raises:
        AzureError: Azure refuses or fails.
    """
    numbers = _versions(client.models, model)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def submit(
    client: MLClient,
    plan: TrainingPlan,
    *,
    new_environment: bool = False,
    on_step: OnStep = lambda _: None,
) -> SubmittedJob:
    """Register what the workspace lacks and submit the job, or return the job of that name.

    A new folder of data becomes the next version of the data asset. A job that has the plan's name
    and is in progress or completed is the requested one.

    Args:
        client: The workspace.
        plan: The job and what it needs.
        new_environment: Register the next version of the image.
        on_step: Called with a sentence for each step.

    Returns:
        The job's state.

    Raises:
        AzureFileError: A file of the plan is not valid, or what it uploads is missing.
        AzureError: A job of that name failed; or Azure refuses or fails.
    """
    named = plan.job.content.get("name")
    if named is not None:
        present = _find(client, str(named))
        if present is not None:
            _require_not_failed(present)
            return present
    job = plan.job.load()
    if _uses(plan.job, plan.data):
        register_if_missing(client.data, plan.data, force=plan.new_data, on_step=on_step)
    register_if_missing(
        client.environments, plan.environment, force=new_environment, on_step=on_step
    )
    with translated_errors("submit the job"):
        created = client.jobs.create_or_update(job)
    on_step(f"the job {created.name} is submitted")
    return _state_of(created)


def register_if_missing(
    operations: Any, document: Document, *, force: bool, on_step: OnStep
) -> None:
    """Register an environment or data asset that the workspace does not have.

    Args:
        operations: The SDK's operations on assets of that kind, such as `client.data`.
        document: The asset.
        force: Register it as the next version where there is one already.
        on_step: Called with a sentence once it is registered.

    Raises:
        AzureFileError: The document is not valid, or what it uploads is missing.
        AzureError: Azure refuses or fails.
    """
    entity = document.load()
    if not force and _versions(operations, document.name):
        return
    document.check_path()
    with translated_errors(f"register {document.name}"):
        registered = operations.create_or_update(entity)
    on_step(f"{document.name} is registered, version {registered.version}")


def wait(
    client: MLClient,
    submitted: SubmittedJob,
    *,
    poll_seconds: float = _POLL_SECONDS,
    on_step: OnStep = lambda _: None,
) -> SubmittedJob:
    """Wait for a job's end.

    Args:
        client: The workspace.
        submitted: The job.
        poll_seconds: The pause between two looks at it.
        on_step: Called with a sentence for each new status.

    Returns:
        The state of the completed job.

    Raises:
        AzureError: The job did not complete; or Azure refuses or fails.
    """
    status = ""
    while submitted.status not in _ENDED:
        if submitted.status != status:
            status = submitted.status
            on_step(f"{submitted.name}: {status}")
        time.sleep(poll_seconds)
        with translated_errors(f"read the job {submitted.name}"):
            submitted = _state_of(client.jobs.get(submitted.name))
    if submitted.status != COMPLETED:
        raise AzureError(
            f"The job {submitted.name} ended as {submitted.status}: its log is at "
            f"{submitted.studio_url}. A version that the quality gate refuses ends it too."
        )
    return submitted


def job_with_versions(client: MLClient, name: str) -> str:
    """Return the name of the job whose output holds the versions.

    Args:
        client: The workspace.
        name: A job, or a sweep, whose best trial is returned.

    Raises:
        AzureError: A sweep has no best trial yet; or Azure refuses or fails.
    """
    with translated_errors(f"read the job {name}"):
        job = client.jobs.get(name)
    if job.type != "sweep":
        return name
    best = (job.properties or {}).get("best_child_run_id")
    if not best:
        raise AzureError(f"The sweep {name} has no best trial yet: it is {text_of(job.status)}.")
    return str(best)


def _versions(operations: Any, name: str) -> list[str]:
    try:
        with translated_errors(f"list the versions of {name}"):
            return [str(found.version) for found in operations.list(name=name)]
    except AzureNotFoundError:
        return []


def _uses(job: Document, data: Document) -> bool:
    path = str(job.content["inputs"]["data"]["path"])
    return path in (f"azureml:{data.name}@latest", f"azureml:{data.name}")


def _find(client: MLClient, name: str) -> SubmittedJob | None:
    try:
        with translated_errors(f"read the job {name}"):
            return _state_of(client.jobs.get(name))
    except AzureNotFoundError:
        return None


def _require_not_failed(present: SubmittedJob) -> None:
    if present.status in _ENDED and present.status != COMPLETED:
        raise AzureError(
            f"There is a job {present.name} already, and it ended as {present.status}: choose "
            f"another --name. Its log is at {present.studio_url}."
        )


def _state_of(job: Any) -> SubmittedJob:
    after = (job.inputs or {}).get("after", 0)
    return SubmittedJob(
        str(job.name), text_of(job.status), str(job.studio_url), int(getattr(after, "_data", after))
    )
