"""tools/chart.py on a source of its own; the chart's own files are checked in deploy/helm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import chart

SOURCE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "server": {
            "description": "The server.",
            "type": "object",
            "properties": {
                "level": {
                    "description": "How much it logs" + ", more or less" * 10 + ".",
                    "enum": ["", "INFO", "DEBUG"],
                    "default": "INFO",
                },
                "labels": {"description": "Labels.", "type": "object", "default": {"a": "b"}},
            },
        },
        "replicas": {"description": "How many.", "type": "integer", "default": 2},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A chart with the source above, and a README that has room for the table."""
    source = tmp_path / "values.source.yaml"
    source.write_text(yaml.safe_dump(SOURCE, sort_keys=False), encoding="utf-8")
    readme = f"# Chart\n\n{chart.TABLE_BEGIN}\nold\n{chart.TABLE_END}\n\nThe end.\n"
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    (tmp_path / "templates").mkdir()
    monkeypatch.setattr(chart, "SOURCE", source)
    monkeypatch.setattr(chart, "CHART", tmp_path)
    return tmp_path


def test_values_have_their_defaults_and_their_descriptions_above_them(folder: Path) -> None:
    assert chart.main([]) == 0
    text = (folder / "values.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {
        "server": {"level": "INFO", "labels": {"a": "b"}},
        "replicas": 2,
    }
    assert max(map(len, text.splitlines())) <= 100
    lines = text.splitlines()
    assert lines[lines.index("replicas: 2") - 1] == "# How many."
    assert lines[lines.index("  labels:") - 1] == "  # Labels."


def test_the_defaults_are_known_by_their_paths_and_the_whole_numbers_named(folder: Path) -> None:
    assert chart.main([]) == 0
    head, begin, *lines, end = (folder / "templates" / "_defaults.tpl").read_text().splitlines()
    assert head.startswith("{{/* Made from ")
    assert (begin, end) == ('{{- define "bert-qa.defaults" -}}', "{{- end -}}")
    assert json.loads("\n".join(lines)) == {
        "numbers": ["replicas"],
        "values": {"server.level": "INFO", "server.labels": {"a": "b"}, "replicas": 2},
    }


def test_the_schema_is_the_source(folder: Path) -> None:
    chart.main([])
    assert json.loads((folder / "values.schema.json").read_text(encoding="utf-8")) == SOURCE


def test_the_table_has_a_row_for_each_key_and_the_rest_of_the_readme_stays(folder: Path) -> None:
    chart.main([])
    text = (folder / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["server.level", "server.labels", "replicas"]
    assert rows[0].endswith(", more or less. One of `INFO`, `DEBUG`. |")
    assert text.startswith("# Chart\n\n")
    assert text.endswith("\n\nThe end.\n")
    assert "old" not in text


def test_files_that_are_missing_or_out_of_date_are_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chart.main(["--check"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(
        "Out of date: values.yaml, values.schema.json, _defaults.tpl, README.md."
    )

    chart.main([])
    assert chart.main(["--check"]) == 0

    (folder / "values.yaml").write_text("replicas: 3\n", encoding="utf-8")
    assert chart.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("Out of date: values.yaml. Run ")


def test_other_arguments_are_wrong_usage(folder: Path) -> None:
    assert chart.main(["--chekc"]) == 2
    assert not (folder / "values.yaml").exists()
