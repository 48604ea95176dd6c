from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from bertqa_build.plots import Bar, Colour, Group, bar_chart, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS = [
    Group("Windows & more", [Bar("FP32", 10.0, "10.0 (1.00x)"), Bar("INT8 <$x$>", 22.5, "22.5")]),
    Group("Other", [Bar("INT8", 1.0, "1.0", Colour.BEST)]),
]


def test_bars_are_drawn_with_text_that_stays_text() -> None:
    text = bar_chart(GROUPS, standalone=True)
    words = [each.text for each in ElementTree.fromstring(text).iter() if each.text]
    for word in ("Windows & more", "FP32", "10.0 (1.00x)", "INT8 <$x$>", "22.5", "Other"):
        assert word in words
    assert Colour.BASE in text
    assert Colour.BEST in text


def test_the_note_of_a_bar_below_zero_leaves_the_label_free() -> None:
    bars = [Bar("gain", 5.0, "+5"), Bar("none", 0.0, "+0"), Bar("loss", -4.0, "-4 (-12 to +0)")]
    document = ElementTree.fromstring(bar_chart([Group("F1", bars)], standalone=True))
    begins = {each.text: float(each.attrib["x"]) for each in document.iter() if "x" in each.attrib}

    assert begins["-4 (-12 to +0)"] == begins["+0"] < begins["+5"]


def test_the_same_data_make_the_same_figure() -> None:
    assert bar_chart(GROUPS) == bar_chart(GROUPS)


def test_a_figure_for_a_page_has_no_xml_declaration() -> None:
    assert bar_chart(GROUPS).startswith("<svg")
    assert bar_chart(GROUPS, standalone=True).startswith("<?xml")


def test_drawing_leaves_the_global_settings_as_they_are() -> None:
    import matplotlib

    def paint(axes: Sequence[Axes]) -> None:
        assert matplotlib.rcParams["svg.fonttype"] == "none"

    before = dict(matplotlib.rcParams)
    draw(paint, [1])
    assert dict(matplotlib.rcParams) == before
