"""The versions that a recipe made, as a repository has them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bertqa.artifact import Repository, VersionManifest
from bertqa.errors import RepositoryError

_FP32, _INT8 = "FP32", "INT8"


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned version.

    Attributes:
        version: Its number.
        precision: `FP32` or `INT8`.
        speedup: How many times as fast as the unpruned one it was to be.
    """

    version: int
    precision: str
    speedup: float


@dataclass(frozen=True, slots=True)
class Versions:
    """The newest versions of a recipe that were made from one FP32 version.

    Attributes:
        fp32: The number of that version.
        int8: Its INT8 version; None where there is not one.
        pruned: Those that were pruned from it, by speed-up.
    """

    fp32: int
    int8: int | None
    pruned: tuple[Pruned, ...]

    @property
    def numbers(self) -> list[int]:
        """All their numbers."""
        whole = [self.fp32, *([] if self.int8 is None else [self.int8])]
        return [*whole, *(each.version for each in self.pruned)]

    def named(self, numbers: Collection[int]) -> str:
        """Return some of them with their precisions, as in "version 1 (FP32), version 2 (INT8)".

        Args:
            numbers: Which.
        """
        precisions = {self.fp32: _FP32}
        if self.int8 is not None:
            precisions[self.int8] = _INT8
        for each in self.pruned:
            precisions[each.version] = f"{each.precision} {each.speedup:g}x"
        return ", ".join(
            f"version {number} ({precision})"
            for number, precision in precisions.items()
            if number in numbers
        )


def versions_of(recipe: str, repository: Repository, model: str) -> Versions:
    """Find the versions of a recipe.

    Args:
        recipe: The name of the recipe.
        repository: Where they are published.
        model: The name of the model.

    Returns:
        The newest FP32 version, and what was made from it.

    Raises:
        RepositoryError: There is no FP32 version of the recipe.
    """
    made = [
        each.manifest
        for each in repository.entries(model)
        if each.manifest and each.manifest.recipe.get("name") == recipe
    ]
    roots = [each.version for each in made if each.precision == _FP32 and each.parent is None]
    if not roots:
        raise RepositoryError(
            f"{repository.root} has no FP32 version of {model} that the recipe {recipe!r} made: "
            "build it first with `bert-qa build` into this --repository."
        )
    root = max(roots)
    family = {root}
    found: dict[tuple[str, float | None], VersionManifest] = {}
    for each in sorted(made, key=lambda manifest: manifest.version):
        if each.parent in family:
            family.add(each.version)
            found[each.precision, each.pruning.speedup if each.pruning else None] = each
    int8 = found.get((_INT8, None))
    pruned = [
        Pruned(each.version, precision, speedup)
        for (precision, speedup), each in found.items()
        if speedup is not None
    ]
    return Versions(
        root,
        None if int8 is None else int8.version,
        tuple(sorted(pruned, key=lambda each: (each.speedup, each.precision))),
    )
