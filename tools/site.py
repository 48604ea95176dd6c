"""A hook of MkDocs: pages that are not in `docs/`, and links that lead out of it.

The same files are read on the repository's pages, where links are paths in the repository. A link
to a page of the site becomes one to that page, and any other leads to the repository, or is text
where no address of the repository is known. A link to a file that is not there stays as it is, and
`mkdocs build --strict` refuses it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = "docs"
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CHANGELOG.md": "changelog.md",
    "build/recipes/demo/README.md": "demo-data.md",
    "deploy/helm/bert-qa/README.md": "chart.md",
}
"""Files of the repository beside those in `docs/`, and what they are on the site."""

_SOURCES = {page: file for file, page in PAGES.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|/")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in `docs/`; MkDocs calls it.

    Args:
        files: The files of the site.
        config: The configuration of MkDocs.

    Returns:
        The files.
    """
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links into those of the site; MkDocs calls it for each page.

    Args:
        markdown: The page's text.
        page: The page.
        config: The configuration of MkDocs, which may have the repository's address.
        files: The files of the site.

    Returns:
        The text with its links.
    """
    return with_links_of_the_site(markdown, page.file.src_uri, config.repo_url or "")


def with_links_of_the_site(markdown: str, page: str, repository: str) -> str:
    """Return a page whose links lead to pages of the site or to the repository.

    Args:
        markdown: The page, with links as paths in the repository.
        page: Its name on the site.
        repository: The repository's address; empty where it is not known.

    Returns:
        The page.
    """
    source = _SOURCES.get(page, f"{DOCS}/{page}")

    def moved(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if ADDRESS.match(target):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            return link[0]
        there = PAGES.get(path) or (path[len(DOCS) + 1 :] if path.startswith(f"{DOCS}/") else "")
        if there:
            relative = posixpath.relpath(there, posixpath.dirname(page) or ".")
            return f"{mark}[{text}]({relative}{anchor})"
        if not repository:
            return text
        return f"{mark}[{text}]({repository.rstrip('/')}/blob/HEAD/{path}{anchor})"

    return "\n".join(
        line if is_code else LINK.sub(moved, line) for line, is_code in lines(markdown)
    )


def lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it is in a block of code.

    Args:
        markdown: The page.
    """
    fence = ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark[1]
            yield line, True
        else:
            yield line, bool(fence)
