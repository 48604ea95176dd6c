"""Waiting for what a cluster does by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bertqa_deploy.errors import ClusterError
from bertqa_deploy.waiting import OnWait, Patience

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait each time, and what is said meanwhile.

    Attributes:
        seconds: How long.
        on_wait: Is called with what is waited for, after 5 seconds and then at doubled intervals.
    """

    seconds: float
    on_wait: OnWait = lambda _: None

    def until_none(self, missing: Callable[[], str | None], advice: str = "") -> None:
        """Wait until nothing is missing.

        Args:
            missing: Returns what is waited for, as in "x-0 to end"; None if nothing is.
            advice: A sentence for an error: what says more.

        Raises:
            ClusterError: Something is missing still.
        """
        patience = Patience(self.seconds, self.on_wait)
        while (wanted := missing()) is not None:
            if patience.is_over(wanted):
                raise ClusterError(
                    f"Waited {self.seconds:g} s in vain for {wanted}. {advice}".strip()
                )
            time.sleep(_LOOK_SECONDS)
