"""The demo's build, shortened: post-training quantisation, calibrated on a few windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bertqa.artifact import Repository
from bertqa_build.pipeline import build
from bertqa_build.recipe import Recipe, load_recipe
from bertqa_build.result import BuildResult

RECIPE = Path(__file__).parents[2] / "build" / "recipes" / "ptq.yaml"
CALIBRATION_WINDOWS = 32


@dataclass(frozen=True)
class DemoBuild:
    """A real repository with version 1 in FP32 and version 2 in INT8, and how it was made."""

    repository: Repository
    work_dir: Path
    recipe: Recipe
    result: BuildResult


def build_demo(folder: Path) -> DemoBuild:
    """Build into `folder`."""
    overrides = [f"quantization.calibration_windows={CALIBRATION_WINDOWS}", "gate.max_f1_drop=5"]
    recipe = load_recipe(RECIPE, overrides)
    repository, work_dir = Repository(folder / "repository"), folder / "work"
    return DemoBuild(repository, work_dir, recipe, build(recipe, repository, work_dir))
