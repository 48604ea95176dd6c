"""Where traffic is to go, in the same words on a server, a release, and in Azure ML."""

from __future__ import annotations

from typing import Annotated

import typer

from bertqa.artifact import Split, parse_split

To = Annotated[int | None, typer.Option(min=1, help="The version that gets it all.")]
Back = Annotated[bool, typer.Option("--back", help="Return to what was before.")]
Percents = Annotated[
    str | None, typer.Option(metavar="1=90,2=10", help="Percents of the traffic by version.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Take even a version that failed the quality gate.")
]

_ALL = 100.0


def split_of(to: int | None, split: str | None) -> Split | None:
    """Return the split that was asked for, None where none was. Raises InvalidOptionError."""
    if to is not None:
        return {to: _ALL}
    return None if split is None else parse_split(split)
