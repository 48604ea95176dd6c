"""Choosing a version for a question where several share the traffic."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping

from bertqa import _checks
from bertqa.errors import InvalidOptionError

# The sum of any number of them is finite.
_WEIGHT = _checks.real(0, 1e12)


class WeightedRouter:
    """Splits questions between versions by weight, and keeps a key with its version.

    A key goes where weighted rendezvous hashing sends it (Schindelhauer and Schomaker, "Weighted
    distributed hash tables", 2005), so that a change of weights moves as few keys as can be.

    Args:
        weights: Weights by version: finite, from 0 on, at least one above 0.

    Raises:
        InvalidOptionError: A version or a weight is not valid.
    """

    def __init__(self, weights: Mapping[int, float]) -> None:
        checked: dict[int, float] = {}
        for given, weight in _checks.items("traffic=", weights):
            version = _checks.version("A version of the traffic", given)
            if version in checked:
                raise InvalidOptionError(f"The traffic has version {version} twice.")
            checked[version] = _WEIGHT(f"The traffic of version {version}", weight)
        self._weights = {version: weight for version, weight in checked.items() if weight > 0}
        if not self._weights:
            raise InvalidOptionError("The traffic has no version with a weight above 0.")

    @property
    def shares(self) -> Mapping[int, float]:
        """The share of each version, in percent."""
        total = sum(self._weights.values())
        return {version: 100 * weight / total for version, weight in self._weights.items()}

    def pick(self, key: str | None) -> int:
        """Return the version for a key; for None, a random one by weight."""
        versions = list(self._weights)
        if key is None:
            return random.choices(versions, weights=list(self._weights.values()))[0]
        return max(versions, key=lambda version: self._rank(key, version))

    def _rank(self, key: str, version: int) -> float:
        digest = hashlib.sha256(f"{version}:{key}".encode(errors="surrogatepass")).digest()
        uniform = ((int.from_bytes(digest[:8]) >> 12) + 0.5) / 2**52
        return -self._weights[version] / math.log(uniform)
