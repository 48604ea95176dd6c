"""The manifest of an output: which model answered what, and with which options."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from bertqa._words import first_of
from bertqa.bulk._plan import Job
from bertqa.client._options import Settings
from bertqa.errors import DataError

MANIFEST = "_bertqa.json"
SCHEMA_VERSION = 1

_DECISIVE = ("model", "options", "columns", "format", "inputs", "partitions")
_UNDECISIVE_OPTIONS = ("timeout", "key", "version")
_SHOWN = 3


def manifest_of(job: Job) -> dict[str, Any]:
    """Return what a run is, for JSON.

    Args:
        job: The job.
    """
    plan, settings = job.plan, Settings.of(job.options, 1.0)
    options = {each.name: getattr(settings, each.name) for each in fields(settings)}
    for name in _UNDECISIVE_OPTIONS:
        del options[name]
    counts = [0] * len(plan.files)
    for partition in plan.partitions:
        counts[partition.file] += partition.rows
    return {
        "schema_version": SCHEMA_VERSION,
        "bertqa": version("bertqa"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": asdict(job.identity),
        "options": {**options, "decoder": repr(settings.decoder), "top_k": job.top_k},
        "columns": {
            "question": plan.columns.question,
            "context": plan.columns.context,
            "id": plan.columns.id,
        },
        "format": str(plan.written.kind),
        "rows": plan.rows,
        "inputs": [
            {**asdict(file), "rows": rows} for file, rows in zip(plan.files, counts, strict=True)
        ],
        "partitions": [
            {
                "part": plan.part(each),
                "input": plan.files[each.file].address,
                "first": each.first,
                "rows": each.rows,
            }
            for each in plan.partitions
        ],
    }


def read_manifest(content: bytes, address: str) -> dict[str, Any]:
    """Return the manifest that a file holds.

    Args:
        content: What the file holds.
        address: The output, for messages.

    Raises:
        DataError: It is damaged, or of a newer release.
    """
    try:
        found = json.loads(content)
        number = int(found["schema_version"])
        int(found["model"]["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{address}/{MANIFEST} is damaged: remove {address}, or name another output.",
            detail=str(error),
        ) from error
    if number > SCHEMA_VERSION:
        raise DataError(
            f"{address}/{MANIFEST} is of a newer release of bertqa: use that, or name another "
            "output."
        )
    return dict(found)


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], address: str) -> None:
    """Refuse to resume a run that is not the same.

    Args:
        before: The manifest in the output.
        now: That of this run.
        address: The output, for messages.

    Raises:
        DataError: Something that decides the answers differs; the message says what.
    """
    found = [each for key in _DECISIVE for each in _differences(key, before.get(key), now[key])]
    if found:
        raise DataError(
            f"{address} has answers of another run: {first_of(found, _SHOWN, '; ')}. Run with the "
            "same to resume it, or name another output."
        )


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from _differences(f"{name}.{key}", before.get(key), now.get(key))
    elif isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            yield f"{name} were {len(before)} and are {len(now)}"
            return
        for number, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(f"{name}[{number}]", old, new)
    elif before != now:
        yield f"{name} was {before!r} and is {now!r}"
