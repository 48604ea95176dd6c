"""A measurement as a figure."""

from __future__ import annotations

from bertqa_build.bench.plan import Precision
from bertqa_build.bench.run import Measurement
from bertqa_build.svg import Bar, Group, bar_chart

_KINDS = {Precision.FP32: "base", Precision.BF16: "middle", Precision.INT8: "best"}


def draw(measurement: Measurement) -> str:
    """Draw windows per second, one group of bars for each shape, as a file of SVG."""
    groups = [
        Group(
            f"{shape}: windows per second",
            [
                Bar(
                    str(variant),
                    cell.windows_per_second,
                    f"{cell.windows_per_second:.1f} ({measurement.ratio(cell):.2f}x)",
                    _KINDS[variant.precision],
                )
                for variant in measurement.plan.variants
                for cell in [measurement.cell(variant, shape)]
            ],
        )
        for shape in measurement.plan.shapes
    ]
    return bar_chart(groups, standalone=True)
