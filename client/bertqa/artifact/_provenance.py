"""What a version was made of, and on what: enough to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class Provenance:
    """Where a version comes from; what is not known is empty.

    Attributes:
        commit: The git commit of the recipe's file.
        is_modified: Whether the recipe's file, or data beside it, differed from that commit; None
            where the recipe is in no git repository.
        checkpoint_sha256: The digest of the checkpoint's tensors, settings and tokenizer.
        checkpoint_revision: The commit of the checkpoint on its hub.
        data: The sha256 of each source of questions, by its name in the recipe.
        seed: What decided every draw and order.
        machine: The CPU, its cores, and its instructions for bf16 and INT8.
        threads: The threads that PyTorch computed with, on which sums depend.
        system: The operating system.
        pulled_from: The registry that the version was pulled from, with the commit there.
    """

    commit: str = ""
    is_modified: bool | None = None
    checkpoint_sha256: str = ""
    checkpoint_revision: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    machine: str = ""
    threads: int | None = None
    system: str = ""
    pulled_from: str = ""
