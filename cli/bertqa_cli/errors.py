"""How failures become sentences and exit statuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from bertqa.errors import (
    BertQAError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
)

EXTRA_OF_MODULE = {
    "azure": "azure",
    "jsonschema": "serve",
    "openvino": "serve",
    "prometheus_client": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "adlfs": "azure",
    "fsspec": "deploy",
    "gcsfs": "gs",
    "jinja2": "deploy",
    "kubernetes": "deploy",
    "netron": "inspect",
    "s3fs": "s3",
    "accelerate": "build",
    "datasets": "build",
    "nncf": "build",
    "onnx": "build",
    "onnxruntime": "build",
    "optimum": "build",
    "pydantic": "build",
    "safetensors": "build",
    "torch": "build",
    "transformers": "build",
    "yaml": "build",
}


class Status(IntEnum):
    """The exit statuses of `bert-qa`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3


class CommandError(Exception):
    """A verb cannot do what it was asked; the message is for the person who typed it."""

    def __init__(
        self, message: str, *, status: Status = Status.FAILED, detail: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


@contextmanager
def refused_by(gate: type[BertQAError]) -> Iterator[None]:
    """Let what the quality gate refuses end the command with its own status."""
    try:
        yield
    except gate as error:
        raise CommandError(str(error), status=Status.REFUSED, detail=error.detail) from error


def status_of(error: BertQAError | CommandError) -> Status:
    """Report a mistake in what was typed from a failure to do it."""
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, InvalidQuestionError | InvalidContextError | InvalidOptionError):
        return Status.USAGE
    return Status.FAILED


def missing_extra(error: ModuleNotFoundError) -> CommandError:
    """Say which extra brings a missing module; any other missing module is a defect of ours."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    if extra is None:
        raise error
    return CommandError(
        f"This needs the extra '{extra}', for {module} is not installed: "
        f"from a clone of the project, run pip install '.[{extra}]'.",
        detail=str(error),
    )
