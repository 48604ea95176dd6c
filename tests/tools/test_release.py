"""tools/release.py, on projects of a few lines and on this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.release import ROOT, ReleaseError, main, notes

CHANGELOG = """# Changelog

## 0.3.0 (2026-12-01)

### Added

- A thing.

## 0.2.0 (2026-11-01)

- Another.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that can be released as 0.3.0."""
    write(tmp_path)
    return tmp_path


def write(
    root: Path,
    *,
    version: str = "0.3.0",
    chart: str = "0.3.0",
    app: str = "0.3.0",
    home: str = "https://git.example/bert-qa",
) -> None:
    text = f'[project]\nname = "bertqa"\nversion = "{version}"\nurls = {{Homepage = "{home}"}}\n'
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    folder = root / "deploy" / "helm" / "bert-qa"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Chart.yaml").write_text(f"version: {chart}\nappVersion: {app}\n", encoding="utf-8")
    (root / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")


def test_the_notes_are_the_section_of_the_changelog(project: Path) -> None:
    assert notes("v0.3.0", project) == "### Added\n\n- A thing.\n"


@pytest.mark.parametrize(
    ("versions", "place"),
    [
        ({"version": "0.2.9"}, "version of pyproject.toml has 0.2.9"),
        ({"chart": "0.2.9"}, "but version of Chart.yaml has 0.2.9: write 0.3.0 there"),
        ({"app": "0.2.9"}, "appVersion of Chart.yaml has 0.2.9"),
    ],
)
def test_another_version_is_named_with_its_place(
    project: Path, versions: dict[str, str], place: str
) -> None:
    write(project, **versions)
    with pytest.raises(ReleaseError, match=place):
        notes("v0.3.0", project)


def test_an_address_that_is_not_filled_in_is_named(project: Path) -> None:
    write(project, home="https://git.example/OWNER/REPOSITORY")
    with pytest.raises(
        ReleaseError, match=r"^Homepage in \[project\.urls\] .*write the repository's"
    ):
        notes("v0.3.0", project)


@pytest.mark.parametrize("heading", ["0.3.0 (unreleased)", "0.3.0"])
def test_a_section_without_a_date_is_not_released(project: Path, heading: str) -> None:
    changelog = project / "CHANGELOG.md"
    changelog.write_text(CHANGELOG.replace("0.3.0 (2026-12-01)", heading), encoding="utf-8")
    with pytest.raises(ReleaseError, match="write the date there"):
        notes("v0.3.0", project)


def test_a_version_without_a_section_is_not_released(project: Path) -> None:
    changelog = project / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 0.2.0 (2026-11-01)\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"no section for 0\.3\.0"):
        notes("v0.3.0", project)


@pytest.mark.parametrize("tag", ["0.3.0", "v0.3", "v0.3.0-rc.1", "v0.3.0\n"])
def test_a_tag_that_is_not_a_version(project: Path, tag: str) -> None:
    with pytest.raises(ReleaseError, match="is not a version"):
        notes(tag, project)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["v0.0.0"]) == 1
    assert "error: The tag is v0.0.0, but version of pyproject.toml has" in capsys.readouterr().err


def test_the_versions_of_this_project_are_one() -> None:
    """Whether or not the version has a date already."""
    from tools.release import _versions

    assert len(set(_versions(ROOT).values())) == 1
