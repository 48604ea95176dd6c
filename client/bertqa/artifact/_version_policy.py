"""OVMS's `model_version_policy`: which of a model's versions are served."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertqa.errors import ConfigError

ALL_VERSIONS: Mapping[str, Any] = {"all": {}}
LATEST_VERSION: Mapping[str, Any] = {"latest": {"num_versions": 1}}


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which of the versions on disk are served: all, the `latest` so many, or `specific` ones."""

    latest: int | None = 1
    specific: frozenset[int] | None = None

    @classmethod
    def parse(cls, policy: Mapping[str, Any] | None) -> VersionPolicy:
        """Read a `model_version_policy`.

        Args:
            policy: What `config.json` has; None, as in OVMS, is the latest version alone.

        Returns:
            The policy.

        Raises:
            ConfigError: OVMS has no such policy.
        """
        match policy:
            case None:
                return cls()
            case {"all": _}:
                return cls(latest=None)
            case {"latest": {"num_versions": int(number)}} if number > 0:
                return cls(latest=number)
            case {"specific": {"versions": [*numbers]}} if all(type(n) is int for n in numbers):
                return cls(latest=None, specific=frozenset(numbers))
        raise ConfigError(f"model_version_policy is not one that OVMS knows: {policy}.")

    def choose(self, versions: Sequence[int]) -> list[int]:
        """Return those of the versions that are to be served, in ascending order.

        Args:
            versions: The numbers on disk.

        Returns:
            The numbers that OVMS loads.
        """
        chosen = sorted(v for v in versions if self.specific is None or v in self.specific)
        return chosen if self.latest is None else chosen[-self.latest :]


def specific_versions(versions: Collection[int]) -> dict[str, Any]:
    """Return the `model_version_policy` that serves these versions and no others.

    Args:
        versions: The numbers to serve.

    Returns:
        The value of `model_version_policy`.
    """
    return {"specific": {"versions": sorted(versions)}}
