"""A page with what a load test came to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bertqa.evaluation import render_page
from bertqa.load._stage import Stage

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 280, 56, 36
_PERCENTS = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


def load_page(title: str, about: Sequence[str], stages: Sequence[Stage]) -> str:
    """Return a page with a table of stages and the latencies of each, one file that loads nothing.

    Args:
        title: What was asked.
        about: Sentences: when, on which machine, with which questions.
        stages: The stages.
    """
    shown = [stage for stage in stages if stage.quantile_ms(50) is not None]
    most = max((stage.quantile_ms(_PERCENTS[-1]) or 0.0 for stage in shown), default=1.0)
    top = _round_up(most)
    curves = [
        {"name": str(stage.shape), "points": _points(stage, top), "number": number % 6}
        for number, stage in enumerate(shown)
    ]
    return render_page(
        "load.html",
        "bertqa.load",
        title=title,
        about=about,
        stages=stages,
        curves=curves,
        ticks=[(each, round(_y(each, top), 1)) for each in (0.0, top / 2, top)],
        percents=[(f"{each:g}", round(_x(each), 1)) for each in _PERCENTS],
        size=(_WIDTH, _HEIGHT, _LEFT, _BOTTOM),
    )


def _points(stage: Stage, top: float) -> str:
    return " ".join(
        f"{_x(each):.1f},{_y(stage.quantile_ms(each) or 0.0, top):.1f}" for each in _PERCENTS
    )


def _x(percent: float) -> float:
    """Return where a percentile is: each further nine is as far as the one before."""
    share = math.log10(100 / (100 - percent)) / math.log10(100 / (100 - _PERCENTS[-1]))
    return _LEFT + share * (_WIDTH - _LEFT - 90)


def _y(milliseconds: float, top: float) -> float:
    return 12 + (1 - milliseconds / top) * (_HEIGHT - _BOTTOM - 12)


def _round_up(value: float) -> float:
    step = math.pow(10, math.floor(math.log10(max(value, 1e-3))))
    return math.ceil(value / step) * step
