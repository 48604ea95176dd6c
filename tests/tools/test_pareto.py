"""tools/pareto.py: the picture of speed against F1 is that of docs/results.md."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tools.pareto import PICTURE, RESULTS, Point, front, main, panels, svg


def test_the_picture_is_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_a_picture_of_other_figures_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    other = RESULTS.read_text(encoding="utf-8").replace("| FP32 | 75.60 /", "| FP32 | 75.90 /")
    assert svg(panels(other)) != PICTURE.read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_tables() -> None:
    minilm, mpnet = panels(RESULTS.read_text(encoding="utf-8"))
    assert (minilm.points[0].speed, minilm.points[0].f1) == (44.8, 75.6)
    assert (minilm.points[2].speed, minilm.points[2].f1) == (105.1, 75.81)
    assert mpnet.points[0].speed == pytest.approx(1000 / 719)
    for panel in (minilm, mpnet):
        for point in panel.points:
            assert panel.speeds[0] <= point.speed <= panel.speeds[1]
            assert panel.f1s[0] <= point.f1 <= panel.f1s[1]


def test_a_table_that_is_gone_is_an_error() -> None:
    with pytest.raises(LookupError, match="There is no table below ## Accuracy"):
        panels("# Results\n\n## Accuracy\n\nWords.\n")


def test_the_front_is_what_nothing_else_beats_in_both() -> None:
    slow, fast, beaten = Point("slow", 1, 80), Point("fast", 3, 70), Point("beaten", 2, 70)
    assert front([beaten, fast, slow]) == [slow, fast]
    assert front([slow, slow]) == [slow, slow]


def test_the_picture_loads_nothing_and_names_every_point() -> None:
    drawn = panels(RESULTS.read_text(encoding="utf-8"))
    root = ElementTree.fromstring(svg(drawn))
    texts = {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {point.label for panel in drawn for point in panel.points} <= texts
    assert not root.findall(".//*[@href]")
