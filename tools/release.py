"""Check that a tag may be released, and print its section of the changelog.

    python -m tools.release v0.2.0 > notes.md
    python -m tools.release v0.2.0 README.md > notes.md    # links of the README too, for PyPI

The version of the distribution, the chart's and its appVersion are the tag's, the addresses in
pyproject.toml are those of a repository, and the changelog has a section for the tag with a date.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.site import ADDRESS, LINK, lines

ROOT = Path(__file__).parents[1]
_TAG = re.compile(r"v(\d+\.\d+\.\d+)")
_PLACEHOLDER = re.compile(r"OWNER|REPOSITORY")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class ReleaseError(Exception):
    """Raised when a tag cannot be released; the message says what to do."""


def notes(tag: str, root: Path = ROOT) -> str:
    """Return the section of the changelog for a tag that may be released.

    Args:
        tag: The tag, such as `v0.2.0`.
        root: The project's root.

    Returns:
        The section without its heading, in Markdown, with links that lead to the repository.

    Raises:
        ReleaseError: The tag is not a version, a file has another version, an address of the
            project is not filled in, or the changelog has no section with a date.
    """
    named = _TAG.fullmatch(tag)
    if named is None:
        raise ReleaseError(f"The tag {tag} is not a version: it has to be like v0.2.0.")
    version = named[1]
    others = {place: found for place, found in _versions(root).items() if found != version}
    if others:
        differing = ", ".join(f"{place} has {found}" for place, found in others.items())
        raise ReleaseError(f"The tag is {tag}, but {differing}: write {version} there.")
    urls = _project(root)["urls"]
    unfilled = [name for name, url in urls.items() if _PLACEHOLDER.search(url)]
    if unfilled:
        raise ReleaseError(
            f"{', '.join(unfilled)} in [project.urls] of pyproject.toml still say OWNER or "
            "REPOSITORY: write the repository's address there."
        )
    section = _section(version, (root / "CHANGELOG.md").read_text(encoding="utf-8"))
    return with_addresses(section, tag, root)


def with_addresses(markdown: str, tag: str, root: Path = ROOT) -> str:
    """Return a page whose links hold elsewhere too, such as on PyPI.

    Args:
        markdown: The page, with links as paths from the project's root.
        tag: The tag of the files that they lead to.
        root: The project's root, whose pyproject.toml has the address of the source.

    Returns:
        The page.
    """
    source = _project(root)["urls"]["Source"]

    def moved(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if ADDRESS.match(target):
            return link[0]
        return f"{mark}[{text}]({source}/{'raw' if mark else 'blob'}/{tag}/{target}{anchor})"

    return "\n".join(
        line if is_code else LINK.sub(moved, line) for line, is_code in lines(markdown)
    )


def _versions(root: Path) -> dict[str, str]:
    chart_file = root / "deploy" / "helm" / "bert-qa" / "Chart.yaml"
    chart = yaml.safe_load(chart_file.read_text(encoding="utf-8"))
    return {
        "version of pyproject.toml": _project(root)["version"],
        "version of Chart.yaml": str(chart["version"]),
        "appVersion of Chart.yaml": str(chart["appVersion"]),
    }


def _project(root: Path) -> dict[str, Any]:
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def _section(version: str, changelog: str) -> str:
    for section in changelog.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        name, _, date = heading.partition(" ")
        if name != version:
            continue
        if _DATE.fullmatch(date.strip("()")) is None:
            raise ReleaseError(
                f"CHANGELOG.md has {date or 'nothing'} beside {version}: write the date there, as "
                f"in `## {version} (2026-11-28)`."
            )
        return text.strip() + "\n"
    raise ReleaseError(f"CHANGELOG.md has no section for {version}.")


def main(arguments: Sequence[str]) -> int:
    """Print the notes of a tag.

    Args:
        arguments: The tag, and pages in the project's root whose links are to hold elsewhere.

    Returns:
        The exit status: 1 where the tag cannot be released, 2 for other arguments, otherwise 0.
    """
    if not arguments:
        print("Usage: python -m tools.release TAG [PAGE]...", file=sys.stderr)
        return 2
    tag, *pages = arguments
    try:
        text = notes(tag)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for page in map(Path, pages):
        try:
            moved = with_addresses(page.read_text(encoding="utf-8"), tag)
            page.write_text(moved, encoding="utf-8")
        except OSError as error:
            print(f"error: {error.filename}: {error.strerror}.", file=sys.stderr)
            return 1
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
