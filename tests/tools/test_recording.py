"""tools/recording.py: what is typed and printed becomes one animated picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tools.recording import COLUMNS, ROWS, record, svg, timed

SVG = "{http://www.w3.org/2000/svg}"


def test_a_command_is_typed_before_its_output_appears() -> None:
    lines = timed([("bert-qa versions", "\x1b[1mone\x1b[0m\ntwo")])
    assert [line.text.plain for line in lines] == ["$ bert-qa versions", "one", "two", ""]
    typed, one, two, _ = lines
    assert typed.typed > 0
    assert one.at == two.at > typed.at + typed.typed


def test_what_is_wider_than_the_terminal_is_wrapped() -> None:
    lines = timed([("x" * 30, "word " * 40)])
    assert max(len(line.text.plain.rstrip()) for line in lines) <= COLUMNS


def test_the_picture_is_xml_and_scrolls_where_it_is_full() -> None:
    few = svg(timed([("bert-qa <&>", "a < b & c")]))
    root = ElementTree.fromstring(few)
    assert "a < b & c" in [each.text for each in root.iter(f"{SVG}text")]
    assert "translateY(-" not in few
    many = svg(timed([("bert-qa", "\n".join(map(str, range(ROWS + 5))))]))
    assert len(re.findall(r"translateY\(-", many)) == 7
    assert not re.findall(r"(?:src|href)=|url\((?!#)|@import|<script", many)


def test_commands_are_run_and_spinners_wiped_off() -> None:
    ((command, output),) = record([["bert-qa", "--version"]])
    assert command == "bert-qa --version"
    assert re.fullmatch(r"bert-qa [0-9.]+", re.sub(r"\x1b\[[0-9;]*m", "", output))
