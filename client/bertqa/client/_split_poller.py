"""Following the split of traffic that an operator sets."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

from bertqa import _defaults
from bertqa.artifact import SPLIT_KEY, parse_split
from bertqa.client._router import WeightedRouter
from bertqa.errors import BertQAError, InvalidOptionError, ModelNotFoundError, ProtocolError
from bertqa.transport import ModelMetadata

_PATIENCE = 4

logger = logging.getLogger(__name__)


def split_of(metadata: ModelMetadata) -> str:
    """Return the text of the split that a server reports. Raises ProtocolError if there is none."""
    text = metadata.rt_info.get(SPLIT_KEY)
    if not text:
        raise ProtocolError(f"The model {metadata.name!r} tells no split of traffic.")
    return text


def read_split_file(path: Path) -> str:
    """Return the text of a split that is in a file. Raises InvalidOptionError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptionError(f"The split in {path} cannot be read: {error}.") from error


def noticed_seconds() -> float:
    """Return how long those who follow a source may take to notice that it is back, if it was away.

    It is the longest that `SplitPoller.keep` puts the next try off, and the try itself.
    """
    return (1 + _PATIENCE) * _defaults.FOLLOW_TIMEOUT_SECONDS


class SplitPoller:
    """The split as it was read last; kept where it cannot be read again.

    No choice is made by a split that was read longer ago than `_defaults.FOLLOW_SECONDS`, unless
    its source was away. Before the first is read, and where none was ever set, the server's
    default version answers.
    """

    def __init__(self) -> None:
        self._traffic: WeightedRouter | None = None
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
            self._traffic = WeightedRouter(parse_split(text))
            self._text = text
            logger.info("following the split %s", text.strip())
        self._trouble = ""
        self._due = asked + _defaults.FOLLOW_SECONDS

    def keep(self, error: BertQAError, asked: float) -> None:
        """Go on with the last known split, for the source is away or wrong; logged once.

        The longer it took to find that out, the longer it is before the next try.
        """
        now = time.monotonic()
        self._due = now + max(_defaults.FOLLOW_SECONDS, _PATIENCE * (now - asked))
        if isinstance(error, ModelNotFoundError) and self._traffic is None:
            return
        if str(error) != self._trouble:
            self._trouble = str(error)
            logger.warning("keeping the split %r: %s", self._text.strip(), error)

    def pick(self, key: str | None) -> int | None:
        """Return the version for a key, None being the server's default."""
        return None if self._traffic is None else self._traffic.pick(key)
