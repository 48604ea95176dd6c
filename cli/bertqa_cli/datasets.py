"""Data sets that a verb reads."""

from __future__ import annotations

from pathlib import Path

from bertqa.evaluation import SquadDataset, read_squad
from bertqa_cli.console import print_warning


def read_dataset(path: Path) -> SquadDataset:
    """Return the questions of a file, after a warning where some answers were left out.

    Args:
        path: A file that `read_squad` reads.

    Raises:
        DataError: It cannot be read, or is not like SQuAD.
    """
    dataset = read_squad(path)
    if dataset.warning:
        print_warning(dataset.warning)
    return dataset
