"""The split of traffic between versions that an operator sets, and how clients follow it.

A server tells it as `rt_info` of a tiny model of its own, beside the model that it is about: so it
is read from the very server that answers, whether that is OVMS or the local engine.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path

from bertqa import defaults
from bertqa.errors import BertQAError, InvalidOptionError, ModelNotFoundError, ProtocolError
from bertqa.traffic import Traffic
from bertqa.transport.base import ModelMetadata

SPLIT_KEY = "split"
WHOLE = 100.0
_PATIENCE = 4

Split = Mapping[int, float]

logger = logging.getLogger(__name__)

_PART = re.compile(r"\s*([1-9][0-9]*)\s*=\s*([0-9]+(?:\.[0-9]+)?)\s*%?\s*", re.ASCII)


def split_model_name(model: str) -> str:
    """Name the model that tells the split of another one's traffic."""
    return f"{model}-traffic"


def parse_split(text: str) -> dict[int, float]:
    """Read `1=90,2=10`: versions, and percents that sum to 100. Raises InvalidOptionError."""
    split: dict[int, float] = {}
    for part in text.strip().split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidOptionError(
                f"The split {text.strip()!r} cannot be read: write versions with their percents, "
                "as in 1=90,2=10."
            )
        version, percent = int(match[1]), float(match[2])
        if version in split:
            raise InvalidOptionError(f"The split {text.strip()!r} names version {version} twice.")
        split[version] = percent
    if not math.isclose(sum(split.values()), WHOLE, abs_tol=1e-6):
        raise InvalidOptionError(
            f"The split {text.strip()!r} sums to {sum(split.values()):g}, but it has to be 100."
        )
    return split


def format_split(split: Split) -> str:
    """Write a split as `parse_split` reads it, versions in ascending order."""
    return ",".join(f"{version}={split[version]:g}" for version in sorted(split))


def split_of(metadata: ModelMetadata) -> str:
    """Give the text of the split that a server tells. Raises ProtocolError where it tells none."""
    text = metadata.rt_info.get(SPLIT_KEY)
    if not text:
        raise ProtocolError(f"The model {metadata.name!r} tells no split of traffic.")
    return text


def read_split_file(path: Path) -> str:
    """Give the text of a split that is in a file. Raises InvalidOptionError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptionError(f"The split in {path} cannot be read: {error}.") from error


def noticed_seconds() -> float:
    """Give how long those who follow a source may take to notice that it is back, if it was away.

    It is the longest that `FollowedTraffic.keep` puts the next try off, and the try itself.
    """
    return (1 + _PATIENCE) * defaults.FOLLOW_TIMEOUT_SECONDS


class FollowedTraffic:
    """The split as it was read last; kept where it cannot be read again.

    No choice is made by a split that was read longer ago than `defaults.FOLLOW_SECONDS`, unless
    its source was away. Before the first is read, and where none was ever set, the server's
    default version answers.
    """

    def __init__(self) -> None:
        self._traffic: Traffic | None = None
        self._text = ""
        self._due = -math.inf
        self._trouble = ""

    @property
    def is_due(self) -> bool:
        """Whether the split has to be read before the next choice."""
        return time.monotonic() >= self._due

    def take(self, text: str, asked: float) -> None:
        """Follow a split, asked for at that `time.monotonic`. Raises InvalidOptionError."""
        if text != self._text:
            self._traffic = Traffic(parse_split(text))
            self._text = text
            logger.info("following the split %s", text.strip())
        self._trouble = ""
        self._due = asked + defaults.FOLLOW_SECONDS

    def keep(self, error: BertQAError, asked: float) -> None:
        """Go on with the last known split, for the source is away or wrong; logged once.

        The longer it took to find that out, the longer it is before the next try.
        """
        now = time.monotonic()
        self._due = now + max(defaults.FOLLOW_SECONDS, _PATIENCE * (now - asked))
        if isinstance(error, ModelNotFoundError) and self._traffic is None:
            return
        if str(error) != self._trouble:
            self._trouble = str(error)
            logger.warning("keeping the split %r: %s", self._text.strip(), error)

    def choose(self, key: str | None) -> int | None:
        """Give the version for a key, None being the server's default."""
        return None if self._traffic is None else self._traffic.choose(key)
