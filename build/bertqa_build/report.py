"""One page on what quantisation did to a model: self-contained, for a browser or a review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from bertqa_build import figures
from bertqa_build.inspection import Inspection, Speed, operation_changes
from bertqa_build.svg import STYLE

_PAGE_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #f3f4f6; margin: 0; }
main { max-width: 880px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 12px; }
.quiet { color: #6b7280; }
section { background: white; border-radius: 10px; padding: 22px 26px; margin-top: 20px;
  box-shadow: 0 1px 3px rgb(0 0 0 / 10%); overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 16px;
  margin-top: 20px; }
.tile { background: white; border-radius: 10px; padding: 16px 20px;
  box-shadow: 0 1px 3px rgb(0 0 0 / 10%); }
.tile b { display: block; font-size: 26px; line-height: 1.2; }
.tile .good { color: #047857; }
.tile .bad { color: #b91c1c; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid #e5e7eb; }
th, td { padding: 5px 14px 5px 0; vertical-align: top; }
td { border-bottom: 1px solid #f3f4f6; }
.number { text-align: right; }
details { margin-top: 14px; }
summary { cursor: pointer; color: #2563eb; }
code { font-size: 12px; }
"""


def render(
    before: Inspection, after: Inspection, speeds: Mapping[int, Sequence[Speed]], machine: str
) -> str:
    """Return the page as HTML; `speeds` are by version, for the same shapes in the same order."""
    title = f"Version {before.version} and version {after.version}"
    sections = [
        _accuracy(before, after),
        _size(before, after),
        _speed(before, after, speeds, machine),
        _operations(before, after),
        _products(after),
        _ranges(after),
        _origin(before, after),
    ]
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_PAGE_STYLE}{STYLE}</style></head><body><main>"
        f"<h1>{title}</h1>"
        f'<p class="quiet">{escape(before.manifest.precision)} and '
        f"{escape(after.manifest.precision)} of "
        f"{escape(after.manifest.source)}, published {escape(after.manifest.published)}</p>"
        f"{_tiles(before, after, speeds)}{''.join(sections)}</main></body></html>\n"
    )


def _tiles(before: Inspection, after: Inspection, speeds: Mapping[int, Sequence[Speed]]) -> str:
    tiles = []
    if before.manifest.scores and after.manifest.scores:
        change = after.manifest.scores.f1 - before.manifest.scores.f1
        tiles.append(("F1", f"{change:+.2f}", change >= -_allowed(after), "points"))
    ratio = after.ir_size / before.ir_size
    tiles.append(("Size on disk", f"{ratio:.0%}", ratio < 1, "of what it was"))
    faster = speeds[before.version][-1].seconds / speeds[after.version][-1].seconds
    tokens = speeds[after.version][-1].tokens
    tiles.append(("Speed", f"{faster:.2f}x", faster > 1, f"at {tokens} tokens"))
    int8 = sum(product.int8 for product in after.products)
    tiles.append(("In INT8", f"{int8} of {len(after.products)}", int8 > 0, "matrix products"))
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile">{name}<b class="{"good" if good else "bad"}">{value}</b>'
            f'<span class="quiet">{note}</span></div>'
            for name, value, good, note in tiles
        )
        + "</div>"
    )


def _allowed(inspection: Inspection) -> float:
    gate = inspection.manifest.gate
    return (gate.max_f1_drop if gate else None) or 0.0


def _accuracy(before: Inspection, after: Inspection) -> str:
    scores = after.manifest.scores
    if not scores or not before.manifest.scores:
        return _section("Accuracy", "<p>These versions were published without scores.</p>")
    gate = after.manifest.gate
    verdict = ""
    if gate and gate.f1_drop is not None:
        how = "passed" if gate.passed else "was overruled by force"
        moved = "fell" if gate.f1_drop > 0 else "rose"
        verdict = (
            f"<p>The quality gate {how}: F1 {moved} by {abs(gate.f1_drop):.2f} points; a fall "
            f"of {gate.max_f1_drop:g} is allowed.</p>"
        )
    where = f"Measured on the {scores.questions} questions of {escape(scores.dataset)}."
    return _section(
        "Accuracy", f'{verdict}<p class="quiet">{where}</p>{figures.scores(before, after)}'
    )


def _size(before: Inspection, after: Inspection) -> str:
    return _section("Size", figures.sizes(before, after))


def _speed(
    before: Inspection,
    after: Inspection,
    speeds: Mapping[int, Sequence[Speed]],
    machine: str,
) -> str:
    note = (
        "OpenVINO in one process, both versions in turns, medians; what is not INT8 runs in FP32. "
        f"{escape(machine)}. <code>bert-qa bench</code> measures more engines."
    )
    chart = figures.speeds(before, after, speeds)
    return _section("Speed", f'<p class="quiet">{note}</p>{chart}')


def _operations(before: Inspection, after: Inspection) -> str:
    quantizers = _table(
        ("", figures.title(before), figures.title(after)),
        [
            (kind, str(count), str(after.quantizers[kind]))
            for kind, count in before.quantizers.items()
        ],
    )
    changed = _table(
        ("operation", figures.title(before), figures.title(after), "change"),
        [
            (kind, str(old), str(new), f"{new - old:+d}" if new != old else "")
            for kind, old, new in operation_changes(before, after)
        ],
    )
    return _section(
        "Operations",
        "<p>FakeQuantize in the IR; QuantizeLinear and DequantizeLinear in the ONNX.</p>"
        f"{quantizers}<details><summary>All operations of the IR by type</summary>{changed}"
        "</details>",
    )


def _products(inspection: Inspection) -> str:
    reasons = Counter(product.reason for product in inspection.products if not product.int8)
    int8 = sum(product.int8 for product in inspection.products)
    summary = _table(
        ("matrix products", "number"),
        [
            ("in INT8", str(int8)),
            *((f"in floating point: {reason}", str(n)) for reason, n in reasons.items()),
        ],
    )
    every = _table(
        ("matrix product", "runs in", ""),
        [(product.name, product.runs_in, product.reason) for product in inspection.products],
    )
    return _section(
        f"Matrix products of {figures.title(inspection)}",
        f"{figures.products(inspection)}{summary}"
        f"<details><summary>Each of them</summary>{every}</details>",
    )


def _ranges(inspection: Inspection) -> str:
    if not inspection.ranges:
        return ""
    return _section(
        f"Activation ranges of {figures.title(inspection)}",
        '<p class="quiet">What the quantiser in front of each product covers, in '
        f"{inspection.ranges[0].levels} levels; what lies outside is clipped.</p>"
        f"{figures.ranges(inspection)}",
    )


def _origin(before: Inspection, after: Inspection) -> str:
    rows = [
        ("source", before.manifest.source, after.manifest.source),
        ("made from version", str(before.manifest.parent or ""), str(after.manifest.parent or "")),
        ("published", before.manifest.published, after.manifest.published),
        *(
            (f"sha256 of {name}", digest[:16], after.manifest.files.get(name, "")[:16])
            for name, digest in before.manifest.files.items()
        ),
        *(
            (tool, number, after.manifest.toolchain.get(tool, ""))
            for tool, number in before.manifest.toolchain.items()
        ),
    ]
    return _section(
        "Where they are from", _table(("", figures.title(before), figures.title(after)), rows)
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    numeric = [all(map(_is_number, column)) for column in zip(*rows, strict=True)]
    lines = [
        _row(tag, cells, numeric) for tag, cells in (("th", head), *(("td", row) for row in rows))
    ]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[str], numeric: Sequence[bool]) -> str:
    classes = [' class="number"' if each else "" for each in numeric]
    return (
        "<tr>"
        + "".join(
            f"<{tag}{kind}>{escape(cell)}</{tag}>"
            for cell, kind in zip(cells, classes, strict=True)
        )
        + "</tr>"
    )


def _is_number(cell: str) -> bool:
    return not cell or cell.lstrip("+-").isdecimal()
