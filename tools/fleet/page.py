"""The tables of docs/scaling.md and its plots, from the figures of measurements and simulations."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.fleet.scenarios import PROMISE_MS

_WIDTH, _HEIGHT = 860, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 200, 56, 56
_COLOURS = ("a", "b", "c", "d")
_STYLE = """
  :root { --ink: #1d2129; --quiet: #646b78; --line: #c9cdd4; --ground: #f6f5f1;
    --a: #1b7f4b; --b: #a84a1a; --c: #3b5fa8; --d: #7a4b94; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e8e6e1; --quiet: #9aa1ae; --line: #3b414c; --ground: #15171c;
      --a: #6fd6a0; --b: #eda273; --c: #8fb0f2; --d: #cfa3e8; }
  }
  .ground { fill: var(--ground); }
  text { font-family: system-ui, sans-serif; fill: var(--ink); font-size: 12px; }
  .name { font-weight: 600; font-size: 14px; }
  .quiet { fill: var(--quiet); font-size: 11px; }
  path { fill: none; stroke-width: 1.8; }
  .axis { stroke: var(--line); stroke-width: 1; }
"""


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over one axis.

    Attributes:
        title: What it shows.
        x: What the horizontal axis has.
        y: What the vertical axis has.
        x_ticks: The marks of the horizontal axis, whose first and last are its ends.
        y_ticks: Those of the vertical axis; what is above the last is drawn there.
        lines: The points of each line, by its name.
        logarithmic: Whether both axes are logarithmic.
    """

    title: str
    x: str
    y: str
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    lines: dict[str, list[tuple[float, float]]]
    logarithmic: bool = False

    def svg(self) -> str:
        """Return the picture."""
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{html.escape(self.title)}</title>",
            f"<style>{_STYLE}"
            + "".join(f"  .{each} {{ stroke: var(--{each}); }}\n" for each in _COLOURS)
            + "</style>",
            f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}" rx="12"/>',
            _text(_LEFT, 26, self.title, "name"),
            _text(_LEFT, 44, self.y, "quiet"),
            _text(_WIDTH - _RIGHT, _HEIGHT - 14, self.x, "quiet", "end"),
        ]
        left, top = self._at(self.x_ticks[0], self.y_ticks[-1])
        right, bottom = self._at(self.x_ticks[-1], self.y_ticks[0])
        for tick in self.x_ticks:
            x, _ = self._at(tick, self.y_ticks[0])
            lines.append(_text(x, bottom + 18, f"{tick:,g}", "quiet", "middle"))
            lines.append(f'<path class="axis" d="M{x} {top}V{bottom}"/>')
        for tick in self.y_ticks:
            _, y = self._at(self.x_ticks[0], tick)
            lines.append(_text(left - 8, y + 4, f"{tick:,g}", "quiet", "end"))
            lines.append(f'<path class="axis" d="M{left} {y}H{right}"/>')
        for number, (name, points) in enumerate(self.lines.items()):
            path = "L".join("{} {}".format(*self._at(*point)) for point in points)
            kind, y = _COLOURS[number], _TOP + 14 + 20 * number
            lines.append(f'<path class="{kind}" d="M{path}"/>')
            lines.append(f'<path class="{kind}" d="M{right + 12} {y - 4}h16"/>')
            lines.append(_text(right + 34, y, name, ""))
        return "\n".join([*lines, "</svg>"]) + "\n"

    def _at(self, x: float, y: float) -> tuple[float, float]:
        y = min(max(y, self.y_ticks[0]), self.y_ticks[-1])
        across, up = (
            _part(value, ticks[0], ticks[-1], self.logarithmic)
            for value, ticks in ((x, self.x_ticks), (y, self.y_ticks))
        )
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
        )


def _part(value: float, low: float, high: float, logarithmic: bool) -> float:
    if logarithmic:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    place = f'x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{html.escape(text)}</text>'


def pictures(simulated: dict[str, Any]) -> dict[str, str]:
    """Return the plots as SVG, by the names of their files.

    Args:
        simulated: The figures of `simulated.json`.
    """
    counts = simulated["counts"]
    names = list(counts[0]["pods"])
    plots = {
        "scaling-pods.svg": Plot(
            f"Pods of four cores with which 99 % of the questions take {PROMISE_MS:g} ms or less",
            "questions per second",
            "pods",
            [row["rate"] for row in counts],
            (1, 3, 10, 30, 100),
            {name: [(row["rate"], row["pods"][name]) for row in counts] for name in names},
            logarithmic=True,
        )
    }
    for kind, variants in simulated["disturbances"].items():
        lines = {each["name"]: [(at, y) for at, y in each["series"]] for each in variants}
        plots[f"scaling-{kind.replace(' ', '-')}.svg"] = Plot(
            f"The 99th percentile of each five seconds: {kind}",
            "seconds; it begins at 30",
            "milliseconds (above 500 drawn at 500)",
            (0, 30, 60, 90, 120, 150),
            (0, 100, 200, 300, 400, 500),
            lines,
        )
    return {name: plot.svg() for name, plot in plots.items()}


def tables(
    measured: dict[str, Any], simulated: dict[str, Any], nodes: list[dict[str, Any]], price: float
) -> dict[str, str]:
    """Return the tables of the page as Markdown, by their names.

    Args:
        measured: The figures of `measured.json`.
        simulated: Those of `simulated.json`.
        nodes: Those of `nodes.json`.
        price: What a node costs in an hour, in any currency.
    """
    return {
        "pods": _pods(simulated["counts"]),
        "balancing": _balancing(simulated["balancing"]),
        "disturbances": _disturbances(simulated["disturbances"]),
        "autoscaler": _autoscaler(simulated["scaling"]),
        "cost": _cost(nodes, price),
        "local": _local(measured["compared"]),
        "slow": _slow(measured["slow"]),
    }


def filled(page: str, made: dict[str, str]) -> str:
    """Return a page whose tables, each between two comments, are those.

    Args:
        page: The page.
        made: The tables by their names.

    Raises:
        LookupError: The page has no place for one.
    """
    for name, table in made.items():
        place = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.S)
        page, count = place.subn(lambda found, it=table: f"{found[1]}{it}\n{found[2]}", page)  # type: ignore[misc]
        if count != 1:
            raise LookupError(f"The page has {count} places for the table {name}, not one.")
    return page


def cost_of_million(questions_per_second: float, price: float) -> float:
    """Return what a million questions cost.

    Args:
        questions_per_second: What a node answers.
        price: What it costs in an hour.
    """
    return price * 1_000_000 / (questions_per_second * 3_600)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _pods(counts: list[dict[str, Any]]) -> str:
    names = list(counts[0]["pods"])
    rows = [[f"{row['rate']:,}", *(row["pods"][name] for name in names)] for row in counts]
    return _table(["questions per second", *names], rows)


def _balancing(rows: list[dict[str, Any]]) -> str:
    steady, slow = ([row for row in rows if (row["speed"] == 1) is kind] for kind in (True, False))
    return _table(
        ["balancing", "p99, ms", "p99.9, ms", "p99, one slow", "p99.9, one slow", "drawn"],
        [
            [
                one["policy"],
                *(f"{row[name]:,.0f}" for row in (one, other) for name in ("p99_ms", "p99_9_ms")),
                f"{100 * other['drawn_by_failing']:.0f} %",
            ]
            for one, other in zip(steady, slow, strict=True)
        ],
    )


def _disturbances(kinds: dict[str, list[dict[str, Any]]]) -> str:
    return _table(
        ["what happens", "how", "pods", "p50, ms", "p99, ms", f"above {PROMISE_MS:g} ms"],
        [
            [
                kind,
                each["name"],
                each["pods"],
                f"{each['p50_ms']:.0f}",
                f"{each['p99_ms']:,.0f}",
                f"{100 * each['late']:.2f} %",
            ]
            for kind, variants in kinds.items()
            for each in variants
        ],
    )


def _autoscaler(rows: list[dict[str, Any]]) -> str:
    return _table(
        [
            "target",
            "down after, s",
            "a pod starts in, s",
            "step: p99, ms",
            "step: above",
            "day: p99, ms",
            "day: above",
            "day: pod-hours",
        ],
        [
            [
                f"{100 * row['target']:.0f} %",
                f"{row['down_seconds']:.0f}",
                f"{row['start_seconds']:.0f}",
                *(
                    cell
                    for kind in ("step", "day")
                    for cell in (
                        f"{row[kind]['p99_ms']:,.0f}",
                        f"{100 * row[kind]['late']:.2f} %",
                    )
                ),
                f"{row['day']['pod_hours']:.2f}",
            ]
            for row in rows
        ],
    )


def _cost(nodes: list[dict[str, Any]], price: float) -> str:
    return _table(
        ["measured", "model", "precision", "pruned", "windows per second", "F1", "cost"],
        [
            [
                node["where"],
                node["model"],
                node["precision"],
                node["pruned"],
                f"{node['per_second']:.1f}",
                node["f1"],
                f"{cost_of_million(node['per_second'], price):.2f}",
            ]
            for node in nodes
        ],
    )


def _pair(row: dict[str, Any], name: str) -> str:
    measured, predicted = row["measured"][name], row["predicted"][name]
    off = 100 * (predicted / measured - 1) if measured else 0.0
    return f"{measured:.1f} / {predicted:.1f} ({off:+.0f} %)"


def _local(rows: list[dict[str, Any]]) -> str:
    names = ("questions_per_second", "p50_ms", "p99_ms")
    return _table(
        ["replicas", "load", "questions per second", "p50, ms", "p99, ms"],
        [[row["replicas"], row["load"], *(_pair(row, name) for name in names)] for row in rows],
    )


def _slow(rows: list[dict[str, Any]]) -> str:
    return _table(
        ["balancing", "speed of the first", "p50, ms", "p99, ms"],
        [
            [
                row["policy"],
                f"{row['speed_of_first']:g}",
                *(_pair(row, name) for name in ("p50_ms", "p99_ms")),
            ]
            for row in rows
        ],
    )
