"""Files of questions in each format, and a server that breaks down."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bertqa.errors import ServerUnreachableError
from bertqa.transport import InferResult, Inputs
from tests.support.in_process import InProcessTransport

CONTEXT = "The Normans gave their name to Normandy, a region of France."
OWN = ("answer", "start", "end", "score", "model_version", "error")
ROWS = [
    {"id": f"q{n}", "question": f"Who gave name {n}?", "context": f"{CONTEXT} {n}", "note": note}
    for n, note in enumerate(
        ["plain", 'a "quote"', "two\nlines", "a,b;c\td|e", "é 👨\u200d👩 ", ""]
    )
]
LINE = json.dumps(ROWS[0])


class Counting(InProcessTransport):
    """Counts requests, and breaks down after some."""

    def __init__(self, requests: float = math.inf) -> None:
        super().__init__()
        self.left = requests

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        self.left -= 1
        if self.left < 0:
            raise ServerUnreachableError("It is gone.")
        return super().infer(inputs, version=version, timeout=timeout)


def csv_bytes(delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode(encoding)


def lines_bytes() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def parquet_bytes() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def parse(content: bytes) -> list[dict[str, Any]]:
    """Read what an output holds, whatever it is called."""
    if content.startswith(b"PAR1"):
        return pq.read_table(io.BytesIO(content)).to_pylist()  # type: ignore[no-any-return]
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    text = content.decode("utf-8-sig")
    if text.startswith("{"):
        return [json.loads(line) for line in text.splitlines()]
    delimiter = next((each for each in ";\t|" if each in text.splitlines()[0]), ",")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def read(path: Path) -> list[dict[str, Any]]:
    return parse(path.read_bytes())


INPUTS = {
    "in.csv": csv_bytes(),
    "in-semicolon.csv": csv_bytes(";"),
    "in-tab.csv": csv_bytes("\t"),
    "in-bar.csv": csv_bytes("|"),
    "in-mark.csv": csv_bytes(encoding="utf-8-sig"),
    "in-utf16.csv": csv_bytes("\t", "utf-16"),
    "in-excel.csv": b"sep=;\r\n" + csv_bytes(";"),
    "in-no-hint.csv": b"sep=\r\n" + csv_bytes(),
    "in-quoted-hint.csv": b'\xef\xbb\xbf"SEP=|"\n' + csv_bytes("|"),
    "in-wide.csv": csv_bytes(";").replace(b"note\r\n", b"note;;\r\n").replace(b"\r\nq", b"; \r\nq"),
    "in-two-marks.csv": b"\xef\xbb\xbf" + csv_bytes(encoding="utf-8-sig"),
    "in-blank.csv": b"\r\n \r\n" + csv_bytes() + b"  \r\n\r\n",
    "in-mac.csv": csv_bytes().replace(b"\r\n", b"\r"),
    "in.tsv": csv_bytes("\t"),
    "in.CSV.GZ": gzip.compress(csv_bytes()),
    "in.tsv.gz": gzip.compress(csv_bytes("\t")),
    "in.jsonl": lines_bytes(),
    "in.ndjson": lines_bytes().rstrip(),
    "in.jsonl.gz": gzip.compress(lines_bytes()),
    "in.parquet": parquet_bytes(),
}
