"""What a switch in the cluster takes along: its arguments, the chart and the questions."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shlex
import tarfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertqa._reason import read_finite, reason_of
from bertqa_deploy.errors import ClusterError

# Where the pod of the chart's template has them.
_CHART = "chart.tgz"
_CHART_DIRECTORY = "chart"
_QUESTIONS = "questions"
_PLACE_OF_CHART = f"/tmp/{_CHART_DIRECTORY}"
_PLACE_OF_QUESTIONS = "/input"
# The end of the name of a file of questions, which says its format.
_FORMAT = re.compile(r"(?:\.[A-Za-z]+)?\.[A-Za-z]+$")

_LARGEST_BYTES = 1024 * 1024

_IN_CLUSTER = "--in-cluster"
# Options whose values mean something on this machine alone, or belong to a server. Secrets must
# not get into the Job's specification.
_NOT_PASSED_ON = (
    *("--release", "--namespace", "--chart", "--data", "--repository"),
    "--verify-key",
    *("--url", "--metadata-url", "--ca", "--certificate", "--key", "--server-name"),
    *("--token", "--token-file", "--header"),
)


@dataclass(frozen=True, slots=True)
class JobInput:
    """The input of one switch.

    Attributes:
        command: The command as people know it, for messages.
        arguments: The arguments with which the pod runs `bert-qa`.
        files: The contents of the ConfigMap by their names.
    """

    command: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """A digest that two inputs share only if they do the same."""
        digests = {name: hashlib.sha256(each).hexdigest() for name, each in self.files.items()}
        return hashlib.sha256(json.dumps([self.arguments, digests]).encode()).hexdigest()

    def binary_data(self) -> dict[str, str]:
        """Return the files as a ConfigMap holds them."""
        return {name: b64encode(content).decode() for name, content in self.files.items()}


def job_input(
    arguments: Sequence[str], release: str, namespace: str, chart: Path, data: Path | None
) -> JobInput:
    """Gather what a switch in the cluster takes along.

    Args:
        arguments: The arguments of `bert-qa switch`, as they were typed.
        release: The name of the Helm release.
        namespace: The release's namespace.
        chart: The directory of the chart that the release was installed from.
        data: A file with questions.

    Returns:
        The input; the same for the same arguments and files.

    Raises:
        ClusterError: A file cannot be read, or they are too large together.
    """
    passed = tuple(_passed_on(arguments))
    files = {_CHART: _packed(chart)}
    given = ["--release", release, "--namespace", namespace, "--chart", _PLACE_OF_CHART]
    if data is not None:
        try:
            content = read_finite(data)
        except OSError as error:
            raise ClusterError(f"{data} cannot be read: {reason_of(error)}.") from error
        found = _FORMAT.search(data.name)
        name = f"{_QUESTIONS}{found[0] if found else '.json'}"
        files[name] = content
        given += ["--data", f"{_PLACE_OF_QUESTIONS}/{name}"]
    size = sum(len(content) for content in files.values())
    if size > _LARGEST_BYTES:
        what = chart if data is None else f"{data}, with the chart {chart},"
        raise ClusterError(
            f"{what} takes {size / 1e6:.1f} MB, and a ConfigMap, which brings it to the cluster, "
            "holds 1.0 MB: pass fewer questions with --data (a few hundred suffice), or "
            f"switch without {_IN_CLUSTER}."
        )
    return JobInput(shlex.join(("bert-qa", "switch", *passed)), ("switch", *passed, *given), files)


def _passed_on(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments that mean the same in the cluster."""
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name == _IN_CLUSTER:
            continue
        if name not in _NOT_PASSED_ON:
            yield argument
        elif not equals:
            next(rest, None)


def _packed(chart: Path) -> bytes:
    """Return a chart as an archive whose bytes depend on its files alone."""
    if not (chart / "Chart.yaml").is_file():
        raise ClusterError(f"{chart} is not the chart of bert-qa: it has no Chart.yaml.")
    packed = io.BytesIO()
    try:
        with (
            gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed,
            tarfile.open(fileobj=compressed, mode="w") as archive,
        ):
            for path in sorted(chart.rglob("*")):
                if path.is_file():
                    content = path.read_bytes()
                    entry = tarfile.TarInfo(f"{_CHART_DIRECTORY}/{path.relative_to(chart)}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    except OSError as error:
        raise ClusterError(f"{chart} cannot be read: {reason_of(error)}.") from error
    return packed.getvalue()
