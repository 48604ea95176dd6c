"""Submitting a training job, and following it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from azure.ai.ml import MLClient

from bertqa_deploy.azureml.files import Document
from bertqa_deploy.azureml.plans import Training
from bertqa_deploy.azureml.workspace import explained, plain
from bertqa_deploy.errors import AzureError, AzureNotFoundError

COMPLETED = "Completed"
_ENDED = (COMPLETED, "Failed", "Canceled", "NotResponding", "Paused")
_LOOK_SECONDS = 15.0

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job as Azure has it; `studio_url` is where a browser shows it.

    Its repository's first version, FP32, is `after` + 1, and INT8 the one behind it.
    """

    name: str
    status: str
    studio_url: str
    after: int

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def highest_version(client: MLClient, model: str) -> int:
    """Return the highest version of a model asset, 0 where there is none. Raises AzureError."""
    numbers = _versions(client.models, model)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def submit(
    client: MLClient,
    plan: Training,
    *,
    new_environment: bool = False,
    on_step: OnStep = lambda _: None,
) -> Submitted:
    """Register what the workspace lacks, then submit the job, or find the one of that name.

    A new folder of data is the next version of the data asset, and `new_environment` builds the
    next version of the image. A job that has the name and is under way or done is the one that was
    asked for; one that failed is an error. Raises AzureError.
    """
    named = plan.job.content.get("name")
    if named is not None:
        present = _find(client, str(named))
        if present is not None:
            return _taken(present)
    job = plan.job.load()
    if _uses(plan.job, plan.data):
        ensure(client.data, plan.data, anew=plan.new_data, on_step=on_step)
    ensure(client.environments, plan.environment, anew=new_environment, on_step=on_step)
    with explained("submit the job"):
        created = client.jobs.create_or_update(job)
    on_step(f"the job {created.name} is submitted")
    return _submitted(created)


def ensure(operations: Any, document: Document, *, anew: bool, on_step: OnStep) -> None:
    """Register an environment or data asset where the workspace has none, or its next version."""
    entity = document.load()
    if not anew and _versions(operations, document.name):
        return
    document.check_path()
    with explained(f"register {document.name}"):
        registered = operations.create_or_update(entity)
    on_step(f"{document.name} is registered, version {registered.version}")


def wait(
    client: MLClient,
    submitted: Submitted,
    *,
    look_seconds: float = _LOOK_SECONDS,
    on_step: OnStep = lambda _: None,
) -> Submitted:
    """Follow a job to its end. Raises AzureError where it does not complete."""
    status = ""
    while submitted.status not in _ENDED:
        if submitted.status != status:
            status = submitted.status
            on_step(f"{submitted.name}: {status}")
        time.sleep(look_seconds)
        with explained(f"read the job {submitted.name}"):
            submitted = _submitted(client.jobs.get(submitted.name))
    if submitted.status != COMPLETED:
        raise AzureError(
            f"The job {submitted.name} ended as {submitted.status}: its log is at "
            f"{submitted.studio_url}. A gate that refused the version ends it too."
        )
    return submitted


def output_of(client: MLClient, name: str) -> str:
    """Return the job whose output holds the versions: of a sweep, its best trial's."""
    with explained(f"read the job {name}"):
        job = client.jobs.get(name)
    if job.type != "sweep":
        return name
    best = (job.properties or {}).get("best_child_run_id")
    if not best:
        raise AzureError(f"The sweep {name} has no best trial yet: it is {plain(job.status)}.")
    return str(best)


def _versions(operations: Any, name: str) -> list[str]:
    try:
        with explained(f"list the versions of {name}"):
            return [str(found.version) for found in operations.list(name=name)]
    except AzureNotFoundError:
        return []


def _uses(job: Document, data: Document) -> bool:
    path = str(job.content["inputs"]["data"]["path"])
    return path in (f"azureml:{data.name}@latest", f"azureml:{data.name}")


def _find(client: MLClient, name: str) -> Submitted | None:
    try:
        with explained(f"read the job {name}"):
            return _submitted(client.jobs.get(name))
    except AzureNotFoundError:
        return None


def _taken(present: Submitted) -> Submitted:
    if present.status in _ENDED and present.status != COMPLETED:
        raise AzureError(
            f"There is a job {present.name} already, and it ended as {present.status}: choose "
            f"another --name. Its log is at {present.studio_url}."
        )
    return present


def _submitted(job: Any) -> Submitted:
    after = (job.inputs or {}).get("after", 0)
    return Submitted(
        str(job.name), plain(job.status), str(job.studio_url), int(getattr(after, "_data", after))
    )
