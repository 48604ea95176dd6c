"""tools/hashes.py: what images install is what pyproject.toml and constraints.txt say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tools.hashes import EXTRAS, ROOT, WHEEL, faults, main, path_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of this project that are compared."""
    (tmp_path / "deploy" / "docker").mkdir(parents=True)
    for path in (
        *map(path_of, (*EXTRAS, WHEEL)),
        ROOT / "pyproject.toml",
        ROOT / "constraints.txt",
    ):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_files_of_this_project_fit() -> None:
    assert main(["--check"]) == 0


def test_a_version_that_constraints_no_longer_have(project: Path) -> None:
    assert faults(project) == []
    replace(project / "constraints.txt", "\nnumpy==", "\nnumpy==9.")
    found = faults(project)
    assert len(found) == len(EXTRAS)
    for name, each in zip(EXTRAS, found, strict=True):
        assert re.fullmatch(
            rf"{name}\.requirements\.txt has numpy ([\d.]+), and constraints\.txt 9\.\1\.", each
        )


def test_a_dependency_that_came_since(project: Path) -> None:
    replace(
        project / "pyproject.toml", '    "httpx>=0.28",', '    "httpx>=0.28",\n    "New_one>=1",'
    )
    assert faults(project) == [
        f"{name}.requirements.txt lacks new-one, which pyproject.toml asks for." for name in EXTRAS
    ]


def test_an_extra_s_extra_is_followed(project: Path) -> None:
    replace(project / "pyproject.toml", '    "scipy>=1.15",', '    "scipy>=1.15",\n    "new-one",')
    assert faults(project) == [
        "switch.requirements.txt lacks new-one, which pyproject.toml asks for."
    ]


def test_a_package_without_a_hash(project: Path) -> None:
    path = path_of(WHEEL, project)
    path.write_text(path.read_text(encoding="utf-8") + "other==1\n", encoding="utf-8")
    assert faults(project) == ["wheel.requirements.txt has no hash for other."]
