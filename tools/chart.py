"""Write values.yaml, values.schema.json, defaults and the README's table from `values.source.yaml`.

The source is a JSON Schema in YAML: its descriptions become comments and its defaults the values.
Tools that read values.yaml with comments instead lose the enums, patterns, ranges and unknown keys
that the schema refuses.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parents[1] / "deploy" / "helm"
SOURCE = HERE / "values.source.yaml"
CHART = HERE / "bert-qa"
TABLE_BEGIN = "<!-- values: begin -->"
TABLE_END = "<!-- values: end -->"
_DEFAULTS_BEGIN = """\
{{/* Made from ../values.source.yaml by `python -m tools.chart`: change that, not this. */}}
{{- define "bert-qa.defaults" -}}"""

Schema = dict[str, Any]


def values_schema(source: Schema) -> str:
    """Return the text of values.schema.json."""
    return json.dumps(source, indent=2, ensure_ascii=False) + "\n"


def values_yaml(source: Schema) -> str:
    """Return the text of values.yaml: every key with its description above it and its default."""
    lines = [
        "# Made from ../values.source.yaml by `python -m tools.chart`: change that, not this.",
        *_yaml_lines(source, indent=0),
    ]
    return "\n".join(lines) + "\n"


def _yaml_lines(schema: Schema, indent: int) -> Iterator[str]:
    space = " " * indent
    for name, property_ in schema["properties"].items():
        if indent == 0:
            yield ""
        for line in textwrap.wrap(_description(property_), 98 - indent, break_on_hyphens=False):
            yield f"{space}# {line}"
        if "default" not in property_:
            yield f"{space}{name}:"
            yield from _yaml_lines(property_, indent + 2)
            continue
        text = yaml.safe_dump({name: property_["default"]}, sort_keys=False, width=1000)
        yield from (space + line for line in text.splitlines())


def defaults(source: Schema) -> str:
    """Return the text of `_defaults.tpl`: the values by their paths, for keys that are null."""
    found = {".".join(path): property_ for path, property_ in _leaves(source, ())}
    text = json.dumps(
        {
            "numbers": [path for path, each in found.items() if _is_whole(each, source)],
            "values": {path: each["default"] for path, each in found.items()},
        },
        indent=1,
        ensure_ascii=False,
    )
    return f"{_DEFAULTS_BEGIN}\n{text}\n{{{{- end -}}}}\n"


def _is_whole(property_: Schema, source: Schema) -> bool:
    """Whether a value is a whole number, be it beside other types."""
    name = property_.get("$ref", "").rpartition("/")[2]
    return "integer" in {**source.get("definitions", {}).get(name, {}), **property_}.get("type", ())


def values_table(source: Schema) -> str:
    """Return the README's table: one row for every key that can be set."""
    rows = ["| Key | Default | What it is |", "|---|---|---|"]
    for path, property_ in _leaves(source, ()):
        default = json.dumps(property_["default"], ensure_ascii=False)
        description = _description(property_)
        if "enum" in property_:
            description += (
                f" One of {', '.join(f'`{word}`' for word in property_['enum'] if word)}."
            )
        rows.append(f"| `{'.'.join(path)}` | `{default}` | {description} |")
    return "\n".join(rows)


def _leaves(schema: Schema, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Schema]]:
    for name, property_ in schema["properties"].items():
        if "default" in property_:
            yield (*path, name), property_
        else:
            yield from _leaves(property_, (*path, name))


def _description(property_: Schema) -> str:
    return str(property_["description"]).strip()


def readme(source: Schema, text: str) -> str:
    """Return the README's text with its table replaced.

    Args:
        source: The source of the values.
        text: The README.
    """
    head, _, rest = text.partition(TABLE_BEGIN)
    tail = rest.partition(TABLE_END)[2]
    return f"{head}{TABLE_BEGIN}\n{values_table(source)}\n{TABLE_END}{tail}"


def generated() -> dict[Path, str]:
    """Return every generated file with the text that it should have."""
    source = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    readme_path = CHART / "README.md"
    return {
        CHART / "values.yaml": values_yaml(source),
        CHART / "values.schema.json": values_schema(source),
        CHART / "templates" / "_defaults.tpl": defaults(source),
        readme_path: readme(source, readme_path.read_text(encoding="utf-8")),
    }


def _has(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def main(arguments: Sequence[str]) -> int:
    """Write the generated files, or with `--check` report those that are out of date.

    Args:
        arguments: Those of the command line, without the program's name.

    Returns:
        The exit status: 1 if a file is out of date, 2 for other arguments, otherwise 0.
    """
    if list(arguments) not in ([], ["--check"]):
        print("Usage: python -m tools.chart [--check]", file=sys.stderr)
        return 2
    files = generated()
    if arguments:
        stale = [path.name for path, text in files.items() if not _has(path, text)]
        if stale:
            print(f"Out of date: {', '.join(stale)}. Run `python -m tools.chart`.", file=sys.stderr)
        return int(bool(stale))
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
