"""Data sets that a verb reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from bertqa._data_files import DataAddress
from bertqa.errors import DataError
from bertqa_cli.console import print_warning
from bertqa_cli.progress import working

if TYPE_CHECKING:
    from bertqa.evaluation import SquadDataset

FORMS = (
    "a file (SQuAD JSON, JSON Lines, CSV or Parquet, also .gz), a directory of data, or ID[:SPLIT] "
    "of the Hugging Face hub"
)


def data_option(what: str, *names: str, **arguments: Any) -> Any:
    """Return an option that names data.

    Args:
        what: What the data are, as the beginning of the help.
        *names: The option's names, where they are not the parameter's.
        **arguments: Others of `typer.Option`.
    """
    arguments = {"callback": there, "metavar": "DATA", "help": f"{what}: {FORMS}.", **arguments}
    return typer.Option(*names, **arguments)


def there(given: str | Sequence[str] | None) -> Any:
    """Return an option's value as it was given, after a look at what there is to read.

    Args:
        given: The value.

    Raises:
        typer.BadParameter: There is nothing to read.
    """
    for text in [given] if isinstance(given, str) else given or ():
        try:
            DataAddress.parse(text)
        except DataError as error:
            raise typer.BadParameter(str(error)) from error
    return given


def read_dataset(data: str) -> SquadDataset:
    """Return the questions of a data set, after a warning where some answers were left out.

    Args:
        data: What `read_squad` reads.

    Raises:
        DataError: It cannot be read, or is not like SQuAD.
    """
    from bertqa.evaluation import read_squad

    with working(f"Reading {data}"):
        dataset = read_squad(data)
    if dataset.warning:
        print_warning(dataset.warning)
    return dataset
