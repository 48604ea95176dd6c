"""What GitHub runs: that it is what this project has, with as few rights as it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.images import IMAGES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(path)["jobs"]
    return found


def steps() -> Iterator[Any]:
    for path in WORKFLOWS:
        for job in jobs(path).values():
            yield from job.get("steps", [])
    yield from read(ROOT / ".github" / "actions" / "set-up" / "action.yml")["runs"]["steps"]


def test_every_action_of_others_is_pinned_by_its_commit() -> None:
    used = {step["uses"] for step in steps() if "uses" in step}
    assert len(used) > 10
    others = [each for each in used if not each.startswith("$/")]
    assert [each for each in others if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []


@workflows
def test_rights_are_given_to_single_jobs(path: Path) -> None:
    assert read(path)["permissions"] == {}
    writing = {
        (path.stem, name, right)
        for name, job in jobs(path).items()
        for right, level in job["permissions"].items()
        if level == "write"
    }
    assert writing <= {
        ("docs", "deploy", "id-token"),
        ("docs", "deploy", "pages"),
        ("release", "chart", "id-token"),
        ("release", "chart", "packages"),
        ("release", "images", "id-token"),
        ("release", "images", "packages"),
        ("release", "pypi", "id-token"),
        ("release", "release", "contents"),
    }


def test_the_targets_of_make_that_are_run_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    run = "\n".join(step.get("run", "") for step in steps())
    asked = set(re.findall(r"\bmake ([a-z-]+)", run))
    assert {"lint", "test", "test-ovms", "chart", "docs", "kind", "bench"} <= asked <= targets


def test_all_python_versions_that_the_distribution_names_are_tested() -> None:
    classified = set(re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()))
    matrix = jobs(ROOT / ".github" / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]
    assert set(matrix["python"]) == classified


def test_all_images_are_released() -> None:
    matrix = jobs(ROOT / ".github" / "workflows" / "release.yml")["images"]["strategy"]["matrix"]
    assert set(matrix["image"]) == set(IMAGES)


def test_nothing_is_released_before_the_tests_have_passed() -> None:
    released = jobs(ROOT / ".github" / "workflows" / "release.yml")
    for name in ("pypi", "images", "chart"):
        assert "ci" in released[name]["needs"]
    assert set(released["release"]["needs"]) == {"pypi", "images", "chart"}
