"""Reading the split of traffic beside the questions that follow it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bertqa import _defaults
from bertqa.client._split_poller import SplitPoller, read_split_file, split_of
from bertqa.client._task_driver import TaskDriver
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import AsyncTransport


class AsyncSplitFollower:
    """Keeps the split of a poller up to date while questions are asked.

    Args:
        poller: What is known of the split.
        source: The transport to the model that reports the split, or a file that holds it.
        driver: Runs the reads in the background.
    """

    def __init__(
        self, poller: SplitPoller, source: AsyncTransport | Path, driver: TaskDriver
    ) -> None:
        self._poller = poller
        self._source = source
        self._driver = driver

    async def before_choice(self) -> None:
        """Have a split that a version may be chosen by: read it where nothing else does."""
        if self._driver.is_elsewhere:
            return
        if self._poller.ask():
            # Of a closed client, the question itself says so.
            with contextlib.suppress(ClientStateError):
                await self._read_where_stale()
        self._driver.repeat(self._read_again, self._poller.pause)

    async def close(self) -> None:
        """Close the connections to the source."""
        if not isinstance(self._source, Path):
            await self._source.close()

    async def _read_where_stale(self) -> None:
        async with self._driver.polling:
            if self._poller.is_stale:
                await self._read()

    async def _read_again(self) -> None:
        async with self._driver.polling:
            await self._read()

    async def _read(self) -> None:
        begin = self._poller.begin()
        try:
            self._poller.take(await self._text(), begin)
        except ClientStateError:
            raise
        except BertQAError as error:
            self._poller.keep(error, begin)

    async def _text(self) -> str:
        if isinstance(self._source, Path):
            return read_split_file(self._source)
        timeout = _defaults.FOLLOW_TIMEOUT_SECONDS
        return split_of(await self._source.metadata(version=None, timeout=timeout))
