"""Write the tables of docs/json.md from the schemas of what --json prints.

python -m tools.schemas          writes them
python -m tools.schemas --check  fails where the page is not what the schemas make it
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bertqa_cli.schemas import ERROR, VERSION, names, schema_of

PAGE = Path(__file__).parents[1] / "docs" / "json.md"
BEGIN, END = "<!-- schemas: begin -->", "<!-- schemas: end -->"

Schema = dict[str, Any]


def page(text: str) -> str:
    """Return a page with the tables of all schemas between its marks.

    Args:
        text: The page.
    """
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n" + "\n".join(_lines()) + f"\n{END}{after}"


def _lines() -> Iterator[str]:
    parts: Schema = {}
    for name in names():
        schema = schema_of(name)
        parts |= schema["$defs"]
        if name == ERROR:
            continue
        typed = "--version" if name == VERSION else name
        yield from (f"## bert-qa {typed}", "", schema["description"], "")
        forms = [form for form in schema["anyOf"] if f"/{ERROR}" not in form.get("$ref", "")]
        for form in forms:
            if len(forms) > 1:
                yield from (f"**{form['title']}**", "")
            yield from _form(form)
    yield from ("## Parts", "", "What several documents have.", "")
    for name, part in sorted(parts.items()):
        yield from (f"### {name}", "", part.get("description", ""), "")
        yield from _table(part)


def _form(form: Schema) -> Iterator[str]:
    if about := form.get("description"):
        yield from (about, "")
    whole = [form, *form.get("allOf", [])]
    links = [_link(each["$ref"]) for each in whole if "$ref" in each]
    if links:
        more = ", and:" if "properties" in form else "."
        yield from (f"The keys of {' and of '.join(links)}{more}", "")
    yield from _table(form)


def _table(schema: Schema) -> Iterator[str]:
    rows = [*_rows(schema, "")]
    if rows:
        yield from ("| key | type | |", "|---|---|---|", *rows, "")


def _rows(schema: Schema, prefix: str) -> Iterator[str]:
    """Yield a row for each key, with dots between those of nested objects."""
    required = schema.get("required", ())
    for key, each in schema.get("properties", {}).items():
        optional = "" if key in required else ", optional"
        about = each["description"].replace("|", "\\|")
        yield f"| `{prefix}{key}` | {_type(each)}{optional} | {about} |"
        yield from _below(each, f"{prefix}{key}")


def _below(schema: Schema, place: str) -> Iterator[str]:
    for each in schema.get("anyOf", [schema]):
        yield from _rows(each, f"{place}.")
        if "items" in each:
            yield from _below(each["items"], f"{place}[]")
        if isinstance(each.get("additionalProperties"), dict):
            yield from _below(each["additionalProperties"], f"{place}.*")


def _type(schema: Schema) -> str:
    """Return what a value is, in words."""
    if "$ref" in schema:
        return _link(schema["$ref"])
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join("null" if each is None else f"`{each}`" for each in schema["enum"])
    kinds = schema.get("type", "anything")
    return " or ".join(
        _of_kind(kind, schema) for kind in (kinds if isinstance(kinds, list) else [kinds])
    )


def _of_kind(kind: str, schema: Schema) -> str:
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    values = schema.get("additionalProperties")
    return f"map to {_type(values)}" if kind == "object" and isinstance(values, dict) else kind


def _link(reference: str) -> str:
    name = reference.rpartition("/")[2]
    return f"[{name}](#{re.sub('[^a-z0-9_]', '', name)})"


def main(arguments: Sequence[str]) -> int:
    """Write the tables, or with --check compare them.

    Args:
        arguments: The command line.

    Returns:
        The exit status.
    """
    text = PAGE.read_text(encoding="utf-8")
    made = page(text)
    if "--check" in arguments and made != text:
        print(f"{PAGE.name} is not what the schemas make it: run python -m tools.schemas.")
        return 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
