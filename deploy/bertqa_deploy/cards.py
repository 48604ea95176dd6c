"""What a version's card has to say before the version gets traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertqa.errors import RepositoryError
from bertqa.repository import CARD_FILE, MODEL_NAME, Repository, sha256_of
from bertqa_deploy.errors import GateFailedError


def check_card(
    repository: Repository, version: int, model: str = MODEL_NAME, *, force: bool = False
) -> None:
    """Refuse a version that failed the gate, unless `force`, or whose files are not its card's.

    A version without a card says nothing. Raises GateFailedError and RepositoryError.
    """
    directory = repository.version_dir(version, model)
    if not (directory / CARD_FILE).exists():
        return
    card = repository.card(version, model)
    if card.gate and not card.gate.get("passed", True) and not force:
        raise GateFailedError(
            f"Version {version} failed the quality gate, so its card says "
            f"({_figures(card.gate)}): nothing was changed. --force takes it even so."
        )
    for name, digest in card.files.items():
        if not (directory / name).is_file() or sha256_of(directory / name) != digest:
            raise RepositoryError(
                f"{directory / name} is not the file that was published as version {version}, by "
                "the digest in its card: nothing was changed."
            )


def _figures(gate: Mapping[str, Any]) -> str:
    drop, allowed = gate.get("f1_drop"), gate.get("max_f1_drop")
    if not isinstance(drop, int | float) or not isinstance(allowed, int | float):
        return "it gives no figures"
    return f"F1 fell by {drop:.2f} points, {allowed:g} are allowed"
