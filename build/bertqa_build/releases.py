"""What of a build is published already, what its gate lets through, and the publishing of that."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import (
    IR_FILE,
    GateResult,
    Provenance,
    Repository,
    SigningKey,
    VersionManifest,
    sign_version,
)
from bertqa_build.fingerprint import toolchain
from bertqa_build.gate import Loss, judge, judge_again, require_passed
from bertqa_build.making import Exported, pruning_of
from bertqa_build.publish import publish
from bertqa_build.recipe import Recipe
from bertqa_build.result import BuiltVersion, Scored, named
from bertqa_build.speed import latency_ratio

logger = logging.getLogger(__name__)


class Releases:
    """The versions of a model that a recipe makes, as a repository has them.

    Args:
        recipe: The recipe, whose gate judges.
        repository: Where versions are published.
        model: The name of the model.
        force: Whether a version is published that the gate refuses.
        key: What versions are signed with, if they are.
        on_progress: Called with each stage.
    """

    def __init__(
        self,
        recipe: Recipe,
        repository: Repository,
        model: str,
        force: bool,
        key: SigningKey | None,
        on_progress: OnProgress,
    ) -> None:
        self._recipe = recipe
        self._repository = repository
        self._model = model
        self._force = force
        self._key = key
        self._on_progress = on_progress

    def find(self, fingerprints: Sequence[str]) -> dict[str, BuiltVersion]:
        """Return the newest versions that were made of the same inputs.

        Args:
            fingerprints: The digests of the inputs of each version, in the order of their making.

        Returns:
            Those versions that there are, by their digests.

        Raises:
            QualityGateError: The recipe's gate of now refuses one of them.
        """
        newest: dict[str, tuple[int, VersionManifest]] = {}
        for entry in reversed(self._repository.entries(self._model)):
            if len(newest) == len(fingerprints):
                break
            if entry.manifest is None:
                logger.warning("Version %d is passed over: %s", entry.number, entry.remarks[0])
            elif entry.manifest.inputs_sha256 in fingerprints:
                newest.setdefault(entry.manifest.inputs_sha256, (entry.number, entry.manifest))
        found: dict[str, BuiltVersion] = {}
        for each in fingerprints:
            if each in newest:
                number, manifest = newest[each]
                self._judge_again(number, manifest)
                found[each] = BuiltVersion.of(
                    self._repository, number, present=True, model=self._model
                )
        if found:
            self._on_progress(Progress(f"There already: {named(found.values())}"))
        return found

    def scored(self, version: BuiltVersion) -> Scored:
        """Return what a published version scored, each of its questions too.

        Args:
            version: The version.
        """
        return Scored.published(self._repository.manifest(version.version, self._model))

    def latency_ratio(self, ir: Path, parent: Path) -> float | None:
        """Return an IR's time for a window over its parent's, where the gate asks for it.

        Args:
            ir: The IR.
            parent: The directory of the published version that it was made from.
        """
        if self._recipe.gate.max_latency_ratio is None or not (parent / IR_FILE).exists():
            return None
        self._on_progress(Progress("Timing both versions in turns"))
        return latency_ratio(ir, parent / IR_FILE, self._recipe.model.max_seq_len)

    def judged(self, exported: Exported, loss: Loss | None, notes: Sequence[str]) -> GateResult:
        """Return what the gate finds of a version.

        Args:
            exported: The version.
            loss: What it lost against the one that it was made from.
            notes: Sentences that the result says too.

        Raises:
            QualityGateError: The gate refuses the version, and it is not forced.
        """
        scores, folder = exported.scored.scores, exported.artefacts.ir.parent
        gate = judge(scores, self._recipe.gate, loss=loss, force=self._force)
        gate = replace(gate, notes=(*gate.notes, *notes))
        require_passed(
            gate,
            scores,
            f"The {exported.version.name} is not published",
            f"It is kept in {folder}. --force publishes it all the same.",
        )
        return gate

    def publish(
        self,
        exported: Exported,
        source: str,
        provenance: Provenance,
        *,
        parent: BuiltVersion | None,
        gate: GateResult,
    ) -> BuiltVersion:
        """Publish a version; the files that it was exported to are removed.

        Args:
            exported: The version.
            source: What it was made from, for its manifest.
            provenance: What it was made of and on.
            parent: The published version that it was made from.
            gate: What the gate found.

        Returns:
            The version as it is published, here or meanwhile by a build of the same elsewhere.

        Raises:
            RepositoryError: The repository cannot be written.
        """
        version = exported.version
        pruning = pruning_of(exported, self._on_progress)
        self._on_progress(Progress(f"Publishing the {version.name}"))
        manifest = VersionManifest(
            model=self._model,
            version=0,
            precision=version.precision,
            format="",
            source=source,
            published="",
            files={},
            scores=exported.scored.scores,
            evidence=exported.scored.evidence,
            parent=None if parent is None else parent.version,
            gate=gate,
            recipe=self._recipe.model_dump(mode="json"),
            toolchain=toolchain(),
            provenance=provenance,
            inputs_sha256=version.fingerprint,
            family=version.module.model.config.model_type,
            inputs=version.module.inputs,
            config=version.module.described,
            pruning=pruning,
        )
        number = publish(
            self._repository,
            exported.artefacts,
            manifest,
            onnx=exported.onnx,
            present=lambda: self._published_meanwhile(version.fingerprint),
            key=self._key,
            on_progress=self._on_progress,
        )
        shutil.rmtree(exported.artefacts.ir.parent)
        return BuiltVersion.of(self._repository, number, present=False, model=self._model)

    def sign(self, versions: Iterable[BuiltVersion]) -> None:
        """Sign versions that were published before, where there is a key and it has not.

        Args:
            versions: The versions.

        Raises:
            RepositoryError: A file is not the one in its manifest, or the repository cannot be
                written.
        """
        if self._key is None:
            return
        for each in versions:
            sign_version(
                self._repository,
                each.version,
                self._model,
                self._key,
                on_progress=self._on_progress,
            )

    def _published_meanwhile(self, fingerprint: str) -> int | None:
        """Return the version of the same inputs that a build elsewhere has published since."""
        for entry in reversed(self._repository.entries(self._model)):
            if entry.manifest is not None and entry.manifest.inputs_sha256 == fingerprint:
                return entry.number
        return None

    def _judge_again(self, number: int, manifest: VersionManifest) -> None:
        """Refuse a published version that the recipe's gate of now refuses, but one by force."""
        before = manifest.gate
        if manifest.scores is None or self._force or (before and before.forced):
            return
        ratio = before.latency_ratio if before else None
        if ratio is None and manifest.parent is not None:
            ir = self._repository.version_dir(number, self._model) / IR_FILE
            parent = self._repository.version_dir(manifest.parent, self._model)
            ratio = self.latency_ratio(ir, parent)
        require_passed(
            judge_again(manifest, self._recipe.gate, ratio),
            manifest.scores,
            f"The recipe makes version {number}, which is published, but its gate refuses that",
            "Nothing was changed. --force takes the version all the same.",
        )
