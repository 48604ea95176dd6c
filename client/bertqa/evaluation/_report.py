"""A comparison as a page that needs nothing else: one file, no script, no network."""

from __future__ import annotations

from collections.abc import Callable

from bertqa.evaluation._compare import Comparison, Disagreement, Metrics
from bertqa.evaluation._pages import render_page
from bertqa.qa import cut_around

DISAGREEMENTS_SHOWN = 200
_KINDS = ("worse", "better", "alike")


def metric_rows(first: Metrics, second: Metrics) -> list[tuple[str, str, str]]:
    """Return the rows of the table of metrics: what it is, the first system's, the second's.

    A row that neither system has a figure for is left out.

    Args:
        first: The first system's metrics.
        second: The second system's metrics.

    Returns:
        Rows of name, first figure and second figure.
    """
    names: dict[str, Callable[[Metrics], str]] = {
        "exact match": lambda each: f"{each.exact_match:.2f}",
        "F1": lambda each: f"{each.f1:.2f}",
        "median latency": lambda each: _figure(each.median_ms, " ms"),
        "95th percentile of latency": lambda each: _figure(each.p95_ms, " ms"),
        "questions a second, batched": lambda each: _figure(each.questions_per_second),
        "size on disk": lambda each: "" if each.size is None else f"{each.size / 1e6:.1f} MB",
    }
    rows = [(name, figure(first), figure(second)) for name, figure in names.items()]
    return [row for row in rows if row[1] or row[2]]


def _figure(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.1f}{unit}"


def _kind(each: Disagreement) -> str:
    """Return whether the second system's answer is better, worse or scored alike."""
    first, second = each.f1
    return "alike" if first == second else "better" if second > first else "worse"


def comparison_page(comparison: Comparison) -> str:
    """Return a comparison as one self-contained HTML page.

    Args:
        comparison: What `compare` returned.

    Returns:
        The text of the page.
    """
    first, second = comparison.metrics
    shown = comparison.disagreements[:DISAGREEMENTS_SHOWN]
    return render_page(
        "comparison.html",
        comparison=comparison,
        first=first,
        second=second,
        rows=metric_rows(first, second),
        shown=shown,
        cut_around=cut_around,
        kind_of=_kind,
        kinds={kind: sum(_kind(each) == kind for each in shown) for kind in _KINDS},
        hidden=len(comparison.disagreements) - len(shown),
    )
