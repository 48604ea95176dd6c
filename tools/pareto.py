"""Speed against F1 as an SVG, which the README shows, from the figures of docs/results.md.

python -m tools.pareto            # write docs/images/pareto.svg
python -m tools.pareto --check    # whether it is up to date
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results.md"
PICTURE = ROOT / "docs" / "images" / "pareto.svg"

_WIDTH, _HEIGHT, _PANEL = 860, 396, 430
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 74, 100
_TICKS = 5
_STYLE = """
  :root { --ink: #1d2129; --quiet: #646b78; --line: #c9cdd4; --ground: #f6f5f1; --new: #1b7f4b; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e8e6e1; --quiet: #9aa1ae; --line: #3b414c; --ground: #15171c; --new: #6fd6a0; }
  }
  .ground { fill: var(--ground); }
  text { font-family: system-ui, sans-serif; fill: var(--ink); font-size: 12px; }
  .name { font-weight: 600; font-size: 14px; }
  .quiet { fill: var(--quiet); font-size: 11px; }
  path { fill: none; }
  .axis { stroke: var(--line); }
  .front { stroke: var(--new); stroke-width: 1.5; stroke-dasharray: 4 3; }
  .point { fill: var(--quiet); }
  .point.best { fill: var(--new); }
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A version as an engine computes it.

    Attributes:
        label: What it is.
        speed: Windows per second.
        f1: F1 in percent.
        below: Whether the label stands below it, where there is room.
    """

    label: str
    speed: float
    f1: float
    below: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Points that were measured alike, and so may be compared.

    Attributes:
        title: The model.
        speed: What the speed is of, for the axis.
        f1: What F1 is of, for the axis.
        speeds: The ends of the axis of speeds.
        f1s: The ends of the axis of F1.
        points: The points.
    """

    title: str
    speed: str
    f1: str
    speeds: tuple[float, float]
    f1s: tuple[float, float]
    points: tuple[Point, ...]


def panels(results: str) -> tuple[Panel, Panel]:
    """Return what is drawn: MiniLM on two cores, and MPNet on one thread.

    Args:
        results: The text of docs/results.md.

    Raises:
        LookupError: A figure is not where it was.
    """
    accuracy = _rows(results, "## Accuracy")
    speed = {tuple(row[:4]): row for row in _rows(results, "## Speed")}
    agreement = _rows(results, "## Do the three outputs agree?")
    mpnet = _rows(results, "### Another family")

    def minilm(engine: str, column: int) -> float:
        return float(speed["MiniLM", "384", "1", engine][column])

    fp32, after, trained = (_first(row[1]) for row in accuracy[:3])
    (onnx,) = (_first(row[1]) for row in agreement if row[0] == "ONNX")
    return (
        Panel(
            "MiniLM, 6 layers, two cores",
            "windows of 384 tokens per second, one at a time",
            "F1 in percent, squad-answerable-2910.json",
            (0, 125),
            (75, 76),
            (
                Point("FP32, OpenVINO", minilm("OpenVINO", 4), fp32, below=True),
                Point("INT8 after training, OpenVINO", minilm("OpenVINO", 6), after, below=True),
                Point("INT8, trained, OpenVINO", minilm("OpenVINO", 6), trained),
                Point("INT8, trained, ONNX Runtime", minilm("ONNX Runtime CPU", 6), onnx),
            ),
        ),
        Panel(
            "MPNet, 12 layers, one thread, OpenVINO",
            "windows of 384 tokens per second, one at a time",
            "F1 in percent, every third question of that",
            (0, 5),
            (73, 76),
            tuple(
                Point(label, 1000 / _first(row[2]), _first(row[1]), below="gate" in label)
                for label, row in zip(
                    ("FP32", "INT8, all layers (the gate refused it)", "INT8 but for 12 layers"),
                    mpnet,
                    strict=True,
                )
            ),
        ),
    )


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats in both speed and F1, the slowest first.

    Args:
        points: The points.
    """
    return sorted(
        (
            one
            for one in points
            if not any(
                (other.speed, other.f1) != (one.speed, one.f1)
                and other.speed >= one.speed
                and other.f1 >= one.f1
                for other in points
            )
        ),
        key=lambda point: point.speed,
    )


def svg(drawn: Sequence[Panel]) -> str:
    """Return the picture.

    Args:
        drawn: Its panels, from left to right.
    """
    title = "Speed against F1: " + "; ".join(
        f"{panel.title}: "
        + ", ".join(f"{each.label} {each.speed:.3g}/s {each.f1:.2f}" for each in panel.points)
        for panel in drawn
    )
    notes = (
        "AMD EPYC with AVX-512 VNNI, no AMX. MiniLM's speed is that of random weights.",
        "Up and to the right is better; the dashed line joins what nothing else beats in both.",
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}" rx="12"/>',
        *(line for index, panel in enumerate(drawn) for line in _panel(panel, index * _PANEL)),
        *(_text(_LEFT, _HEIGHT - 32 + 16 * row, note, "quiet") for row, note in enumerate(notes)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panel(panel: Panel, left: int) -> list[str]:
    x0, x1 = left + _LEFT, left + _PANEL - _RIGHT
    y0, y1 = _HEIGHT - _BOTTOM, _TOP

    def at(speed: float, f1: float) -> tuple[float, float]:
        (slow, fast), (low, high) = panel.speeds, panel.f1s
        return (
            round(x0 + (speed - slow) / (fast - slow) * (x1 - x0), 1),
            round(y0 + (f1 - low) / (high - low) * (y1 - y0), 1),
        )

    lines = [
        _text(x0, 34, panel.title, "name"),
        _text(x0, 54, f"{panel.f1} (the axis begins at {panel.f1s[0]:g})", "quiet"),
        _text(x1, y0 + 38, panel.speed, "quiet", "end"),
        f'<path class="axis" d="M{x0} {y1}V{y0}H{x1}"/>',
    ]
    for step in range(_TICKS + 1):
        speed, f1 = (low + (high - low) * step / _TICKS for low, high in (panel.speeds, panel.f1s))
        x, y = at(speed, f1)
        lines += [
            _text(x, y0 + 18, f"{speed:g}", "quiet", "middle"),
            _text(x0 - 8, y + 4, f"{f1:.1f}", "quiet", "end"),
            f'<path class="axis" d="M{x0} {y}H{x1}" stroke-width="0.5"/>',
        ]
    best = front(panel.points)
    joined = "L".join("{} {}".format(*at(each.speed, each.f1)) for each in best)
    lines.append(f'<path class="front" d="M{joined}"/>')
    for each in panel.points:
        x, y = at(each.speed, each.f1)
        right = x > (x0 + x1) / 2
        kind = "point best" if each in best else "point"
        lines += [
            f'<circle class="{kind}" cx="{x}" cy="{y}" r="5"/>',
            _text(
                x + (4 if right else -4),
                y + (20 if each.below else -10),
                each.label,
                "",
                "end" if right else "start",
            ),
        ]
    return lines


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    place = f'x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{html.escape(text)}</text>'


def _rows(results: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its header."""
    table = re.search(r"^\|.*?(?=^[^|]|\n\n)", results.split(f"\n{heading}\n")[1], re.M | re.S)
    if table is None:
        raise LookupError(f"There is no table below {heading}.")
    return [
        [cell.strip(" *") for cell in line.strip("|").split("|")]
        for line in table[0].splitlines()[2:]
    ]


def _first(cell: str) -> float:
    """Return the first number of a cell such as `75.60 / 63.44` or `719 ms`."""
    return float(cell.split()[0])


def main(arguments: Sequence[str]) -> int:
    """Write the picture, or check it.

    Args:
        arguments: Nothing, or `--check`.

    Returns:
        The exit status: 1 where the picture is not up to date.
    """
    made = svg(panels(RESULTS.read_text(encoding="utf-8")))
    if "--check" not in arguments:
        PICTURE.write_text(made, encoding="utf-8")
    elif PICTURE.read_text(encoding="utf-8") != made:
        print(f"{PICTURE} is not up to date: run python -m tools.pareto.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
