"""A comparison as a page that needs nothing else: one file, no script, no network."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from bertqa.evaluation import Comparison, Metrics

DIFFERENCES_SHOWN = 200


def templates() -> Environment:
    """Return the templates of this room; what they show is escaped."""
    environment = Environment(
        loader=PackageLoader("bertqa_deploy"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["capital"] = capital
    return environment


def capital(text: str) -> str:
    """Begin a sentence with a name."""
    return text[:1].upper() + text[1:]


def figures(first: Metrics, second: Metrics) -> list[tuple[str, str, str]]:
    """Return the rows of the table of figures: what it is, the first side's, the second side's."""
    names: dict[str, Callable[[Metrics], str]] = {
        "exact match": lambda side: f"{side.exact_match:.2f}",
        "F1": lambda side: f"{side.f1:.2f}",
        "median latency": lambda side: f"{side.median_ms:.1f} ms",
        "95th percentile of latency": lambda side: f"{side.p95_ms:.1f} ms",
        "questions a second, batched": lambda side: f"{side.questions_per_second:.1f}",
        "size on disk": lambda side: "" if side.size is None else f"{side.size / 1e6:.1f} MB",
    }
    rows = [(name, figure(first), figure(second)) for name, figure in names.items()]
    return [row for row in rows if row[1] or row[2]]


def report_html(comparison: Comparison) -> str:
    """Return the page."""
    first, second = comparison.sides
    shown = comparison.differences[:DIFFERENCES_SHOWN]
    return (
        templates()
        .get_template("report.html")
        .render(
            comparison=comparison,
            first=first,
            second=second,
            rows=figures(first, second),
            shown=shown,
            hidden=len(comparison.differences) - len(shown),
        )
    )
