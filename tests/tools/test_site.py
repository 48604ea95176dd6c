"""tools/site.py and mkdocs.yml: what the documentation's pages are made of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bertqa
from bertqa import errors
from tools.site import PAGES, ROOT, with_links_of_the_site

DOCS = ROOT / "docs"
REPOSITORY = "https://git.example/team/bert-qa"


def linked(link: str, page: str = "switching.md", repository: str = "") -> str:
    return with_links_of_the_site(link, page, repository)


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("architecture.md", "../CONTRIBUTING.md", "contributing.md"),
        ("client.md", "../README.md#the-command", "index.md#the-command"),
        ("api/client.md", "../client.md#errors", "../client.md#errors"),
        ("index.md", "docs/build.md#families", "build.md#families"),
        ("chart.md", "../../../docs/kubernetes.md", "kubernetes.md"),
        ("build.md", "versions.md", "versions.md"),
        ("build.md", "https://a.example/docs/x.md", "https://a.example/docs/x.md"),
        ("build.md", "#data", "#data"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site(page: str, link: str, there: str) -> None:
    assert linked(f"see [`it`]({link}).", page) == f"see [`it`]({there})."


def test_what_is_not_on_the_site_is_in_the_repository_where_its_address_is_known() -> None:
    link = "[its files](../deploy/azureml) are there"
    assert linked(link) == "its files are there"
    there = f"[its files]({REPOSITORY}/blob/HEAD/deploy/azureml) are there"
    assert linked(link, repository=f"{REPOSITORY}/") == there


def test_a_picture_of_the_documentation_is_one_of_the_site() -> None:
    assert linked("![it](docs/images/recording.svg)", "index.md") == "![it](images/recording.svg)"


def test_code_keeps_its_brackets() -> None:
    page = "```python\ncalls[0](../CONTRIBUTING.md)\n```\n[now](../CONTRIBUTING.md)"
    assert linked(page).endswith("calls[0](../CONTRIBUTING.md)\n```\n[now](contributing.md)")


def test_a_link_that_leads_nowhere_is_left_for_mkdocs_to_refuse() -> None:
    assert linked("[gone](../GONE.md)", repository=REPOSITORY) == "[gone](../GONE.md)"


def test_all_pages_are_in_the_navigation() -> None:
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    configuration = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    navigation = configuration.partition("\nnav:")[2].partition("\nvalidation:")[0]
    named = re.findall(r": ([\w/-]+\.md)$", navigation, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) == pages | set(PAGES.values())
    assert all((ROOT / source).is_file() for source in PAGES)


def test_every_public_name_is_in_the_reference() -> None:
    text = "\n".join(path.read_text("utf-8") for path in Path(DOCS, "api").glob("*.md"))
    described = set(re.findall(r"^::: bertqa\.([\w.]+)$", text, re.MULTILINE))
    assert "errors" in described
    wanted = {name for name in bertqa.__all__ if not hasattr(errors, name)}
    assert wanted - {"__version__", "runtime"} <= described
    assert {f"runtime.{name}" for name in bertqa.runtime.__all__} <= described
