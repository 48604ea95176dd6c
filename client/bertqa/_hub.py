"""What the Hugging Face hub refuses, as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)?")
"""The form of the hub's names: an owner and a name, or for some a name alone."""

LOGGERS: Final = ("datasets", "filelock", "fsspec", "httpx", "huggingface_hub")
"""What its libraries log to: attempts, redirections and locks."""

_REFUSALS = {
    "GatedRepoError": "the hub lets in only those who have accepted its terms: log in with "
    "`hf auth login`",
    "RepositoryNotFoundError": "the hub has none of this name, or shows it only to those who log "
    "in with `hf auth login`",
    "RevisionNotFoundError": "the hub has no such revision of it",
    "DisabledRepoError": "the hub has disabled it",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, so the hub is not asked, and its cache on "
    "this machine has no copy",
}
_UNREACHABLE = "the Hugging Face hub cannot be reached, and no copy of it is here"


def refusal(error: BaseException) -> str:
    """Return why the hub did not send what it was asked for, as the end of a sentence.

    Args:
        error: What a library of the hub raised.
    """
    names = [kind.__name__ for each in _chain(error) for kind in type(each).__mro__]
    for name, reason in _REFUSALS.items():
        if name in names:
            return reason
    status = next((found for each in _chain(error) if (found := _status_of(each))), None)
    return _UNREACHABLE if status is None else f"the hub answers with the HTTP status {status}"


def is_final(error: BaseException) -> bool:
    """Return whether the hub itself has refused, so that no copy of an earlier time is wanted.

    Args:
        error: What a library of the hub raised.
    """
    return refusal(error) not in (_UNREACHABLE, _REFUSALS["OfflineModeIsEnabled"])


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _status_of(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
