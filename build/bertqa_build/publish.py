"""Publishing a finished version: IR and ONNX under one number, each with its own manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bertqa._progress import OnProgress, ignore
from bertqa.artifact import (
    IR_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
    Draft,
    Repository,
    SigningKey,
    VersionManifest,
    onnx_model_name,
    publish_served,
)
from bertqa.errors import RepositoryError
from bertqa_build.result import Scored


@dataclass(frozen=True, slots=True)
class Artefacts:
    """The files of one version: an IR (`ir` is the .xml, its .bin stands beside it) and an ONNX."""

    ir: Path
    onnx: Path

    def __post_init__(self) -> None:
        for path in (self.ir, self.weights, self.onnx):
            if not path.is_file():
                raise RepositoryError(f"There is no {path} to publish.")

    @property
    def weights(self) -> Path:
        """The IR's .bin."""
        return self.ir.with_suffix(".bin")


def publish(
    repository: Repository,
    artefacts: Artefacts,
    manifest: VersionManifest,
    *,
    onnx: Scored | None = None,
    present: Callable[[], int | None] = lambda: None,
    key: SigningKey | None = None,
    on_progress: OnProgress = ignore,
) -> int:
    """Publish a version, and a `config.json` that serves all versions where there is none.

    Args:
        repository: Where it is published.
        artefacts: Its files.
        manifest: What is known of the IR, with the name of the model; `version`, `format`, `files`
            and `published` are filled in.
        onnx: What the ONNX model scored, None where it was not.
        present: Returns the number that the version has where another process published it.
        key: What the version is signed with, if it is.
        on_progress: Called when there is another writer to wait for.

    Returns:
        The version's number: one above the highest ever used, or the one that it has already.

    Raises:
        RepositoryError: The repository cannot be written, or another process does not stop writing
            to it. What was published before is as it was, and nothing is left behind.
    """
    ir = replace(manifest, format="openvino")
    twin = replace(
        ir,
        model=onnx_model_name(ir.model),
        format="onnx",
        scores=onnx.scores if onnx else None,
        evidence=onnx.evidence if onnx else None,
    )
    drafts = [
        Draft(twin, {ONNX_FILE: artefacts.onnx}),
        Draft(ir, {IR_FILE: artefacts.ir, WEIGHTS_FILE: artefacts.weights}),
    ]
    return publish_served(repository, drafts, present=present, key=key, on_progress=on_progress)
