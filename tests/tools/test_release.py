"""tools/release.py, on projects of a few lines and on this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.release import ROOT, ReleaseError, main, notes, with_addresses

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
    text = f'[project]\nname = "bertqa"\nversion = "{version}"\nurls = {{Source = "{home}"}}\n'
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    folder = root / "deploy" / "helm" / "bert-qa"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Chart.yaml").write_text(f"version: {chart}\nappVersion: {app}\n", encoding="utf-8")
    (root / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")


def test_the_notes_are_the_section_of_the_changelog(project: Path) -> None:
    assert notes("v0.3.0", project) == "### Added\n\n- A thing.\n"


def test_links_hold_where_the_page_is_read_elsewhere(project: Path) -> None:
    page = (
        "See [docs](docs/a.md#b), ![a picture](docs/a.svg), [this](#below) and\n"
        "[that](https://other.example/x).\n\n```\n[code](docs/a.md)\n```\n"
    )
    home = "https://git.example/bert-qa"
    assert with_addresses(page, "v0.3.0", project) == page.replace(
        "[docs](", f"[docs]({home}/blob/v0.3.0/"
    ).replace("picture](", f"picture]({home}/raw/v0.3.0/")


def test_the_notes_have_such_links(project: Path) -> None:
    changelog = project / "CHANGELOG.md"
    changelog.write_text(CHANGELOG.replace("A thing", "[A thing](docs/a.md)"), encoding="utf-8")
    assert "(https://git.example/bert-qa/blob/v0.3.0/docs/a.md)" in notes("v0.3.0", project)


def test_a_page_that_is_named_gets_them(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notes, "__defaults__", (project,))
    monkeypatch.setattr(with_addresses, "__defaults__", (project,))
    page = project / "README.md"
    page.write_text("[docs](docs/a.md)\n", encoding="utf-8")
    assert main(["v0.3.0", str(page)]) == 0
    assert page.read_text() == "[docs](https://git.example/bert-qa/blob/v0.3.0/docs/a.md)\n"
    assert capsys.readouterr().out.startswith("### Added")


def test_a_page_that_is_not_there_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notes, "__defaults__", (project,))
    assert main(["v0.3.0", str(project / "absent.md")]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {project}/absent.md: No such file or directory.\n"
    assert captured.out == ""


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
        ReleaseError, match=r"^Source in \[project\.urls\] .*write the repository's"
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
