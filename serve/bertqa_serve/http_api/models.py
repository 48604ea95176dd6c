"""Which models a request may name, and what answers for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase

from bertqa import _checks
from bertqa.artifact import trial_model_name
from bertqa.errors import (
    BertQAError,
    InvalidOptionError,
    ModelNotFoundError,
    NotAQAModelError,
)
from bertqa_serve.http_api.backend import Backend, ServerBackend
from bertqa_serve.http_api.options import HttpApiOptions
from bertqa_serve.http_api.problems import TOO_LATE, Problem, missing, problem_of
from bertqa_serve.http_api.tracks import TracksBackend

# How many models beside the default one are kept open, and are opened at once.
_MOST_OPEN = 1000
_OPENED_AT_ONCE = 4
# The name of a model that a switch asks before clients do.
_TRIAL = trial_model_name("")

OpenBackend = Callable[[str], Backend]


class Models:
    """The model of the options, and others of the same servers, opened when they are first named.

    Args:
        options: How the servers are reached, and which models a request may name.
        default: What answers where a request names no model.
        opens: Returns what answers for another model, not open yet.
    """

    def __init__(
        self, options: HttpApiOptions, default: Backend, opens: OpenBackend | None = None
    ) -> None:
        self.default = default
        self._options = options
        self._opens = opens or self._backend_of
        self._opened: dict[str, asyncio.Task[Backend]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def open(self) -> None:
        """Open what answers by default, in the event loop that runs."""
        await self.default.open()

    async def close(self) -> None:
        """Close all that was opened."""
        tasks = [*self._opened.values(), *self._retiring]
        for each in self._retiring:
            each.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        async with contextlib.AsyncExitStack() as ending:
            ending.push_async_callback(self.default.close)
            for backend in found:
                if not isinstance(backend, BaseException | None):
                    ending.push_async_callback(backend.close)

    async def of(self, name: str | None, seconds: float | None = None) -> Backend:
        """Return what answers for a model.

        Args:
            name: The model that a request names; None is the default one.
            seconds: How long that may take; None sets no limit. A model that takes longer to open
                is opened all the same, for the next request.

        Raises:
            Problem: There is no such model here, or its server does not answer, or not in time.
        """
        if name is None or name == self.default.model:
            return self.default
        if not self._may_be_named(name):
            raise missing(name)
        # Those that were named last are at the end.
        task = self._opened.pop(name, None)
        if task is None:
            opening = self._open(name)
            task = asyncio.create_task(opening, context=contextvars.Context())
            task.add_done_callback(lambda done: self._forget_failure(name, done))
        self._opened[name] = task
        self._retire_unused()
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Problem(
                TOO_LATE, f"The server did not say in time what model {_checks.shown(name)} is."
            ) from None
        except (ModelNotFoundError, NotAQAModelError) as error:
            raise missing(name) from error
        except BertQAError as error:
            raise problem_of(error) from error

    async def names(self) -> list[str]:
        """Return the models that a request may name, the default one first.

        Of servers that have no list, it is those of the options' names and of those that requests
        have named so far that they answer for; what only a pattern covers is not known before.

        Raises:
            Problem: The server does not answer.
        """
        default = self.default.model
        if not self._options.models:
            return [default]
        try:
            found = await self.default.models(self._known())
        except BertQAError as error:
            raise problem_of(error) from error
        others = (each for each in sorted(found) if self._may_be_named(each))
        return [default, *(each for each in others if each != default)]

    def _known(self) -> set[str]:
        named = {name for name, task in self._opened.items() if task.done()}
        return named | {each for each in self._options.models if self._may_be_named(each)}

    def _may_be_named(self, name: str) -> bool:
        try:
            _checks.model_name("model", name)
        except InvalidOptionError:
            return False
        if name.endswith(_TRIAL):
            return False
        return any(fnmatchcase(name, pattern) for pattern in self._options.models)

    async def _open(self, name: str) -> Backend:
        async with self._opening:
            backend = self._opens(name)
            await backend.check()
            await backend.open()
            return backend

    def forget(self, backend: Backend) -> None:
        """Have the next request for a model find out anew whether it is served.

        A client waits long for a model that was there, which may come back. So the requests after
        one that did so in vain do not.

        Args:
            backend: What answered for the model.
        """
        task = self._opened.get(backend.model)
        if task is not None and _result_of(task) is backend:
            self._retire(backend.model)

    def _forget_failure(self, name: str, task: asyncio.Task[Backend]) -> None:
        """Have the next request for a model try again where it could not be opened."""
        if _result_of(task) is None and self._opened.get(name) is task:
            del self._opened[name]

    def _retire_unused(self) -> None:
        """Close the models that were not named for the longest time, where too many are open."""
        for name in [*self._opened][: max(len(self._opened) - _MOST_OPEN, 0)]:
            self._retire(name)

    def _retire(self, name: str) -> None:
        retiring = asyncio.create_task(self._close(self._opened.pop(name)))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _close(self, opened: asyncio.Task[Backend]) -> None:
        """Close a model once what it was asked is answered."""
        try:
            await asyncio.sleep(self._options.timeout or self._options.drain_seconds)
        finally:
            with contextlib.suppress(BertQAError):
                await (await opened).close()

    def _backend_of(self, name: str) -> Backend:
        """Return what answers for another model: what is of the default one's versions is not."""
        own = {"model": name, "version": None, "shadow": None, "traffic": "auto"}
        options = replace(self._options, client={**self._options.client, **own}, recording=None)
        if options.tracks is None:
            return ServerBackend(options)
        return TracksBackend(options, is_pinned=False)


def _result_of(task: asyncio.Task[Backend]) -> Backend | None:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()
