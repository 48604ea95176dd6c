"""What a kind of peer is: a module with `opened`, which a process of its own runs.

Such a process may have another release of transformers or NumPy than the build: nothing here, and
in the modules of the kinds, imports more than it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

Pair = tuple[str, str]
"""A question and its context."""

Ask = Callable[[Sequence[Pair]], list[str]]
"""Returns the text of each answer, empty where there is none."""

ONE_BY_ONE = "one by one"
BATCHES = "batches of 8"
OWN = "its own batches"
BATCH = 8


@dataclass(frozen=True, slots=True)
class Job:
    """What a peer's process gets.

    Attributes:
        kind: The kind of peer, a `Kind`.
        precision: What it computes in.
        path: What it loads: the directory of a checkpoint, a model's file or a repository.
        model: The name of the model in a repository.
        version: Its version.
        cores: The cores that it runs on.
        max_seq_len: How many tokens a window has at most.
        doc_stride: How many tokens windows share.
        max_question_len: How many tokens of a question are read.
        may_be_impossible: Whether a question may have no answer.
    """

    kind: str
    precision: str
    path: str
    model: str
    version: int
    cores: tuple[int, ...]
    max_seq_len: int
    doc_stride: int
    max_question_len: int
    may_be_impossible: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A peer that can be asked.

    Attributes:
        ways: Ways to ask it many questions, by name.
        packages: The packages that it runs, by name.
        note: What else there is to know, in a sentence.
    """

    ways: Mapping[str, Ask]
    packages: Sequence[str]
    note: str = ""


class Open(Protocol):
    """Loads a peer, which is closed with the block."""

    def __call__(self, job: Job) -> AbstractContextManager[Opened]:
        """Open a peer.

        Args:
            job: What is opened.
        """
        ...
