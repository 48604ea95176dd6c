"""tools/schemas.py: the tables of docs/json.md, made from the schemas of --json."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bertqa_cli.schemas import ERROR, names
from tools import schemas
from tools.schemas import BEGIN, END, PAGE, main, page

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_schemas_make_it() -> None:
    assert page(TEXT) == TEXT, "run python -m tools.schemas"


def test_the_page_has_each_verb_and_no_link_leads_nowhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    for name in set(names()) - {ERROR}:
        assert f"bert-qa {'--version' if name == 'version' else name}" in headings
    assert set(re.findall(r"\(#(\w+)\)", TEXT)) <= set(headings)


def test_a_table_has_a_row_for_each_key_within() -> None:
    for row in (
        "| `metrics[].median_ms` | number or null |",
        "| `formats[].files.*.state` | `as published` or",
        "| `sensitivity.layers[].f1_difference` | [interval](#interval) |",
        "| `parent` | integer, optional |",
        "| `retired` | list of integer |",
    ):
        assert row in TEXT


def test_a_page_that_is_not_up_to_date_is_refused_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "json.md"
    old.write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(schemas, "PAGE", old)

    assert main(["--check"]) == 1
    assert "python -m tools.schemas" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0
    made = old.read_text(encoding="utf-8")
    assert made.startswith("# Mine\n")
    assert made.endswith(f"{END}\nafter\n")
