from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bertqa.artifact import Repository
from bertqa_build import figures
from bertqa_build.inspection import Inspection, Speed, inspect
from bertqa_build.plots import Colour

SVG = "{http://www.w3.org/2000/svg}"
LAYERS = 6


@pytest.fixture(scope="module")
def versions(demo_repository: Repository) -> tuple[Inspection, Inspection]:
    return inspect(demo_repository, 1), inspect(demo_repository, 2)


def boxes(svg: str) -> list[tuple[Colour, str]]:
    """The colours and the outlines of the coloured boxes; the figure has to be well-formed."""
    colours = {f"fill: {colour}": colour for colour in Colour}
    return [
        (colours[style], each.get("d", ""))
        for each in ElementTree.fromstring(svg).iter(f"{SVG}path")
        if (style := each.get("style", "")) in colours
    ]


def colours(svg: str) -> list[Colour]:
    return [colour for colour, _ in boxes(svg)]


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_products_are_drawn_in_what_they_run_in_layer_by_layer(
    versions: tuple[Inspection, Inspection],
) -> None:
    fp32, int8 = (figures.products(each) for each in versions)

    assert colours(fp32) == [Colour.BASE] * len(versions[0].products)
    in_int8 = sum(product.int8 for product in versions[1].products)
    assert colours(int8).count(Colour.BEST) == in_int8
    assert len(colours(int8)) == len(versions[1].products)
    assert {f"layer {number}" for number in range(LAYERS)} <= set(texts(int8))
    assert texts(int8).count("f32") == len(versions[1].products) - in_int8
    assert "Version 2 (INT8)" in texts(int8)


def test_no_two_products_of_a_layer_share_a_place(versions: tuple[Inspection, Inspection]) -> None:
    outlines = [outline for _, outline in boxes(figures.products(versions[1]))]

    assert len(set(outlines)) == len(outlines)


def test_scores_and_sizes_are_those_of_the_versions(
    versions: tuple[Inspection, Inspection],
) -> None:
    scores, sizes = texts(figures.scores(*versions)), texts(figures.sizes(*versions))

    for version in versions:
        assert version.manifest.scores is not None
        assert f"{version.manifest.scores.f1:.2f} %" in scores
        for size in version.sizes.values():
            assert f"{size / 1e6:.1f} MB" in sizes


def test_speeds_are_drawn_by_shape(versions: tuple[Inspection, Inspection]) -> None:
    measured = {1: [Speed(128, 1, 0.1, 0.02)], 2: [Speed(128, 1, 0.05, 0.01)]}

    svg = figures.speeds(*versions, measured)

    assert colours(svg) == [Colour.BASE, Colour.BEST]
    assert {"10.0 (spread 2%)", "20.0 (spread 1%)"} <= set(texts(svg))


def test_ranges_are_drawn_with_their_limits(versions: tuple[Inspection, Inspection]) -> None:
    svg = figures.ranges(versions[1])

    assert colours(svg) == [Colour.MIDDLE] * len(versions[1].ranges)
    for each in versions[1].ranges:
        assert {each.name, f"{each.low:.3g} to {each.high:.3g}"} <= set(texts(svg))


def test_a_standalone_figure_is_a_file(versions: tuple[Inspection, Inspection]) -> None:
    assert figures.ranges(versions[1], standalone=True).startswith("<?xml")
    assert figures.ranges(versions[1]).startswith("<svg")


def test_the_same_version_makes_the_same_figure(versions: tuple[Inspection, Inspection]) -> None:
    assert figures.products(versions[1]) == figures.products(versions[1])
