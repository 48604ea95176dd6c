"""How errors become sentences and exit statuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import click

from bertqa._reason import reason_of
from bertqa.errors import (
    BertQAError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    QualityGateError,
)

EXTRA_OF_MODULE = {
    "azure": "azure",
    "jsonschema": "serve",
    "openvino": "serve",
    "fastapi": "api",
    "httptools": "api",
    "prometheus_client": "api",
    "starlette": "api",
    "uvicorn": "api",
    "adlfs": "azure",
    "fsspec": "deploy",
    "gcsfs": "gs",
    "huggingface_hub": "hub",
    "jinja2": "evaluate",
    "kubernetes": "deploy",
    "netron": "inspect",
    "s3fs": "s3",
    "scipy": "evaluate",
    "accelerate": "build",
    "datasets": "build",
    "matplotlib": "build",
    "mlflow": "mlflow",
    "hdrh": "load",
    "mlperf_loadgen": "mlperf",
    "model_signing": "sign",
    "nncf": "build",
    "onnx": "build",
    "onnxruntime": "build",
    "optimum": "build",
    "peft": "build",
    "pyspark": "spark",
    "ray": "ray",
    "safetensors": "build",
    "torch": "build",
    "torchao": "build",
    "transformers": "build",
    "yaml": "build",
}

_ALTERNATIVE = re.compile(r" or (\w+)=(?!\w)")
# Not the key of a recipe with its value, as in "gate.min_f1=.inf".
_KEYWORD = re.compile(r"(?<![\w.])([a-z]\w*)=(?=(['\"])|[\s),;:…]|\.\.\.|\.(?![^\s)])|$)")
# `bertqa.TLS` holds what are options of the command: "ca= of TLS" becomes "--ca".
_OF_TLS = re.compile(r"(?<==) of TLS\b")
_SUBJECT = re.compile(r"^([a-z]\w*)(?= (?:is|are|has|needs) )")


class Status(IntEnum):
    """The exit statuses of `bert-qa`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    INTERRUPTED = 130
    TERMINATED = 143


class Terminated(SystemExit):
    """SIGTERM arrived; nothing but the end of the process may take it for an error."""

    def __init__(self) -> None:
        super().__init__(int(Status.TERMINATED))


class CommandError(BertQAError):
    """A verb cannot do what its options request; the message is for the person who typed it."""

    def __init__(
        self,
        message: str,
        *,
        status: Status = Status.FAILED,
        detail: str | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, detail=detail)
        self.status = status
        self.document = document
        """What the verb had come to, which --json prints with the error."""


def status_of(error: BertQAError) -> Status:
    """Return the exit status for an error."""
    match error:
        case CommandError():
            return error.status
        case QualityGateError():
            return Status.REFUSED
        case InvalidQuestionError() | InvalidContextError() | InvalidOptionError():
            return Status.USAGE
    return Status.FAILED


def in_command_words(message: str, options: Mapping[str, str]) -> str:
    """Return a message of the library with the names of options for its keywords.

    `timeout=` becomes `--timeout`. An alternative that the verb does not offer is left out.

    Args:
        message: The message, which may name keywords of the Python API, as in `timeout=`.
        options: The verb's options by the name that they have in Python.
    """

    def alternative(found: re.Match[str]) -> str:
        return found[0] if found[1] in options else ""

    def option(found: re.Match[str]) -> str:
        return options.get(found[1], found[1]) + (" " if found.re is _KEYWORD and found[2] else "")

    text = _ALTERNATIVE.sub(alternative, _OF_TLS.sub("", message))
    return _SUBJECT.sub(option, _KEYWORD.sub(option, text))


def option_names(command: click.Command | None) -> dict[str, str]:
    """Return the options of a verb, and of those below it, by their names in Python."""
    if command is None:
        return {}
    names = {
        parameter.name: max(parameter.opts, key=len)
        for parameter in command.params
        if parameter.name is not None and isinstance(parameter, click.Option)
    }
    for below in getattr(command, "commands", {}).values():
        names |= option_names(below)
    return names


def in_words_of_verb(message: str) -> str:
    """Return a message of the library in the words of the verb that runs; see `in_command_words`.

    Args:
        message: The message.
    """
    return in_command_words(message, option_names(click.get_current_context().command))


def refused_by_system(error: OSError) -> CommandError:
    """Return what the operating system refused, as a sentence, with the file where there is one."""
    file = f" ({error.filename})" if error.filename else ""
    return CommandError(f"The operating system reports: {reason_of(error)}{file}.")


def missing_extra(error: ModuleNotFoundError) -> CommandError:
    """Return an error that names the extra with a missing module.

    Raises:
        ModuleNotFoundError: No extra brings the module: this is a defect of the project.
    """
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    if extra is None:
        raise error
    return CommandError(
        f"This needs the extra '{extra}', for {module} is not installed: "
        f"from a clone of the project, run pip install '.[{extra}]'.",
        detail=str(error),
    )
