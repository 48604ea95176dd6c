"""Following the split of traffic that an operator sets."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

from bertqa import _defaults
from bertqa._reason import reason_of
from bertqa.artifact import SPLIT_KEY, open_regular, parse_split
from bertqa.client._router import WeightedRouter
from bertqa.errors import BertQAError, InvalidOptionError, ModelNotFoundError, ProtocolError
from bertqa.transport import ModelMetadata

_POSTPONEMENT = 4
# For how many times `_defaults.FOLLOW_SECONDS` a split may be followed while it is read again.
_LATE = 1.5
_SHORTEST_PAUSE = 0.05
_LONGEST_SPLIT = 64 * 1024

logger = logging.getLogger(__name__)


def split_of(metadata: ModelMetadata) -> str:
    """Return the text of the split that a server reports.

    Args:
        metadata: The description of the model that reports the split.

    Raises:
        ProtocolError: The description holds no split.
    """
    text = metadata.rt_info.get(SPLIT_KEY)
    if not text:
        raise ProtocolError(
            f"The model {metadata.name!r} does not report a split of traffic: was it set by "
            "`bert-qa switch`?"
        )
    return text


def read_split_file(path: Path) -> str:
    """Return the text of a split that a file holds.

    Raises:
        InvalidOptionError: The file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(_LONGEST_SPLIT).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptionError(
            f"The split in {path} cannot be read: {reason_of(error)}."
        ) from error


def noticed_seconds() -> float:
    """Return how many seconds clients may take to notice that a source is back after an outage.

    It is the longest time for which `SplitPoller.keep` postpones the next read, and the read.
    """
    return (1 + _POSTPONEMENT) * _defaults.FOLLOW_TIMEOUT_SECONDS


class SplitPoller:
    """The split as it was read last, which is kept while its source cannot be read.

    It is read in the background, twice in `_defaults.FOLLOW_SECONDS`, as long as questions are
    asked. No version is chosen by a split that was read longer ago than that, or half as long again
    where a read takes that long, unless its source cannot be read. Before the first is read, and
    where none was ever set, the server's default version answers.
    """

    def __init__(self) -> None:
        self._traffic: WeightedRouter | None = None
        self._text = ""
        self._read_at = -math.inf
        self._due = -math.inf
        self._good_until = -math.inf
        self._asked_at = -math.inf
        self._trouble = ""

    def ask(self) -> bool:
        """Note that a question needs the split, and return whether it has to be read before."""
        self._asked_at = time.monotonic()
        return self.is_stale

    @property
    def is_stale(self) -> bool:
        """Whether the split was read too long ago to choose a version by it."""
        return time.monotonic() > self._good_until

    def pause(self) -> float | None:
        """Return the seconds until the next read, None where no question was asked for a while."""
        now = time.monotonic()
        if now - self._asked_at > _defaults.FOLLOW_IDLE_SECONDS:
            return None
        return max(self._due - now, _SHORTEST_PAUSE)

    def begin(self) -> float:
        """Note that a read begins now, and return the time of `time.monotonic()`.

        What is still good is good for as long as this read may be awaited.
        """
        now = time.monotonic()
        if now <= self._good_until:
            awaited = self._read_at + _LATE * _defaults.FOLLOW_SECONDS
            self._good_until = max(self._good_until, awaited)
        return now

    def take(self, text: str, begin: float) -> None:
        """Follow a split that was read.

        Args:
            text: The split, for example `1=90,2=10`.
            begin: When reading it began, as `begin` returned it.

        Raises:
            InvalidOptionError: The text is not a split.
        """
        if text != self._text:
            self._traffic = WeightedRouter(parse_split(text))
            self._text = text
            logger.info("following the split %s", text.strip())
        self._trouble = ""
        self._know(begin)

    def keep(self, error: BertQAError, begin: float) -> None:
        """Keep the last known split, and log once why.

        Args:
            error: Why the split could not be read.
            begin: When reading it began, as `begin` returned it. The longer it took, the longer
                the next read is postponed.
        """
        if isinstance(error, ModelNotFoundError) and self._traffic is None:
            self._know(begin)  # The server answers: none was ever set.
            return
        now = time.monotonic()
        self._due = now + max(_defaults.FOLLOW_SECONDS, _POSTPONEMENT * (now - begin))
        # Until the next read is over, questions go by what is known.
        self._good_until = self._due + _LATE * _defaults.FOLLOW_SECONDS
        if str(error) != self._trouble:
            self._trouble = str(error)
            logger.warning(
                "keeping the split %r until it can be read again: %s", self._text.strip(), error
            )

    def _know(self, begin: float) -> None:
        self._read_at = begin
        self._due = begin + _defaults.FOLLOW_SECONDS / 2
        self._good_until = begin + _defaults.FOLLOW_SECONDS

    @property
    def shares(self) -> Mapping[int, float] | None:
        """The share of each version, in percent; None where no split was ever set."""
        return None if self._traffic is None else self._traffic.shares

    def pick(self, key: str | None) -> int | None:
        """Return the version for a key, None being the server's default."""
        return None if self._traffic is None else self._traffic.pick(key)
