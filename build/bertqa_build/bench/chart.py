"""A measurement as a figure."""

from __future__ import annotations

from bertqa_build.bench.plan import Precision
from bertqa_build.bench.run import Measurement
from bertqa_build.plots import Bar, Colour, Group, bar_chart

_COLOURS = {
    Precision.FP32: Colour.BASE,
    Precision.BF16: Colour.MIDDLE,
    Precision.INT8: Colour.BEST,
}


def draw(measurement: Measurement) -> str:
    """Return windows per second as a file of SVG: one group of bars for each shape."""
    groups = [
        Group(
            f"{shape}: windows per second",
            [
                Bar(
                    str(variant),
                    cell.windows_per_second,
                    f"{cell.windows_per_second:.1f} ({measurement.ratio(cell):.2f}x)",
                    _COLOURS[variant.precision],
                )
                for variant in measurement.plan.variants
                for cell in [measurement.cell(variant, shape)]
            ],
        )
        for shape in measurement.plan.shapes
    ]
    return bar_chart(groups, standalone=True)
