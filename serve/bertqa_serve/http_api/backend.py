"""What answers: a server with its versions, or several models under one roof."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from bertqa import AsyncQAClient, Recorder
from bertqa._defaults import TIMEOUT_SECONDS
from bertqa.artifact import ModelInfo, split_model_name
from bertqa.errors import BertQAError, VersionNotFoundError
from bertqa.transport import AVAILABLE, AdminClient, Security, rest_address, served_versions
from bertqa_serve.http_api.options import HttpApiOptions
from bertqa_serve.http_api.schema import ServedVersion, Versions

T = TypeVar("T")

READY_SECONDS = 2.0
_KEPT_SECONDS = 1.0
# The name of a model that only reports the split of another one.
_SPLIT = split_model_name("")


class Backend(Protocol):
    """What the endpoints ask."""

    model: str

    async def open(self) -> None:
        """Open what connects, in the event loop that runs."""

    async def close(self) -> None:
        """Wait for what runs in the background, and close it."""

    def client(self, version: int | None, key: str | None) -> tuple[AsyncQAClient, int | None]:
        """Return the client for a version, and how that client is to be asked for it.

        Args:
            version: The version that the request names, if any.
            key: A key that always goes to the same version, if the request has one.
        """

    def split(self) -> Mapping[str, float] | None:
        """Return the share of each version in percent, None where a server knows it."""

    async def versions(self) -> Versions:
        """Return what is served."""

    async def is_ready(self) -> bool:
        """Return whether questions are answered now."""

    async def models(self, known: Collection[str]) -> Collection[str]:
        """Return the models that its servers have.

        Args:
            known: Names that they may have; of servers without a list only these can be found.
        """

    async def check(self) -> None:
        """Look whether its servers have the model; it need not be open.

        Raises:
            ModelNotFoundError: They do not.
            NotAQAModelError: It answers no questions.
            BertQAError: They do not answer.
        """


def recorder_of(options: HttpApiOptions) -> Recorder | None:
    """Return what records answers, None where nothing does.

    Args:
        options: What is recorded.
    """
    recording = options.recording
    if recording is None:
        return None
    return Recorder(
        recording.path,
        sample=recording.sample,
        clear=recording.texts,
        contexts=recording.texts,
    )


def security_of(options: HttpApiOptions) -> Security:
    """Return how servers are trusted, and what they are sent to be trusted.

    Args:
        options: How they are reached.
    """
    return Security.of(*(options.client.get(each) for each in ("tls", "token", "headers")))


class ServerBackend:
    """One server; its client follows the split of the traffic.

    Args:
        options: How the server is reached, and what is recorded.
    """

    def __init__(self, options: HttpApiOptions) -> None:
        self.model = options.model
        self._options = options
        self._arguments = options.client
        self._client: AsyncQAClient | None = None
        self._opened = AsyncExitStack()
        self._ready = Kept(self._look_whether_ready)
        self._served = Kept(self._look_for_versions)
        self._names = Kept(self._look_for_models)

    async def open(self) -> None:
        """See `Backend.open`."""
        arguments = dict(self._arguments)
        recorder = recorder_of(self._options)
        if recorder is not None:
            arguments["recorder"] = recorder
            self._opened.callback(recorder.close)
        self._client = await self._opened.enter_async_context(AsyncQAClient(**arguments))

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._opened.aclose()

    def client(self, version: int | None, key: str | None) -> tuple[AsyncQAClient, int | None]:
        """See `Backend.client`."""
        assert self._client is not None
        return self._client, version

    def split(self) -> Mapping[str, float] | None:
        """See `Backend.split`."""
        return None

    async def versions(self) -> Versions:
        """See `Backend.versions`."""
        return await self._served.get()

    async def is_ready(self) -> bool:
        """See `Backend.is_ready`."""
        return await self._ready.get()

    async def models(self, known: Collection[str]) -> Collection[str]:
        """See `Backend.models`."""
        return await self._names.get()

    async def check(self) -> None:
        """See `Backend.check`."""

        def look() -> None:
            with self._admin(self._options.timeout or TIMEOUT_SECONDS) as admin:
                ModelInfo.from_rt_info(admin.metadata(self.model).model_info)

        await asyncio.to_thread(look)

    async def _look_for_versions(self) -> Versions:
        client, _ = self.client(None, None)
        served = await asyncio.to_thread(
            partial(
                served_versions,
                self._arguments["url"],
                self.model,
                metadata_url=self._arguments.get("metadata_url"),
                security=security_of(self._options),
                timeout=self._options.timeout or TIMEOUT_SECONDS,
            )
        )
        split = await client.split()
        only = self._arguments.get("version")
        versions = [
            ServedVersion(
                version=each.version,
                name=f"version {each.version}",
                state=each.state,
                is_default=each.version == only if only else each.is_default,
                share=None if split is None else split.get(each.version, 0.0),
                precision=each.precision,
                source=each.source,
                f1=each.f1,
                exact_match=each.exact_match,
            )
            for each in served
        ]
        return Versions(model=self.model, versions=versions, split=dict(split) if split else None)

    async def _look_whether_ready(self) -> bool:
        def look() -> bool:
            with self._admin(READY_SECONDS) as admin:
                return admin.is_model_ready(self.model)

        try:
            return await asyncio.to_thread(look)
        except BertQAError:
            return False

    async def _look_for_models(self) -> Collection[str]:
        def look() -> Collection[str]:
            with self._admin(self._options.timeout or TIMEOUT_SECONDS) as admin:
                return {
                    name
                    for name, states in admin.models().items()
                    if not name.endswith(_SPLIT)
                    and any(each.state == AVAILABLE for each in states.values())
                }

        return await asyncio.to_thread(look)

    def _admin(self, timeout: float) -> AdminClient:
        address = rest_address(self._arguments["url"], self._arguments.get("metadata_url"))
        return AdminClient(address, security_of(self._options), timeout=timeout)


@dataclass(frozen=True, slots=True)
class System:
    """A model to compare with others.

    Attributes:
        name: What it is called, such as "version 2" or a path.
        open: Returns a client for it.
        version: The version to ask that client for.
        number: The version that it really is, where that is known.
    """

    name: str
    open: Callable[[], AsyncQAClient]
    version: int | None = None
    number: int | None = None


class SideBySide:
    """Several models; the API knows each by a number of its own.

    Args:
        systems: The models, of which the first one is asked by default.
        model: The name that stands for them all.
    """

    def __init__(self, systems: Sequence[System], model: str) -> None:
        self.model = model
        self._systems = _numbered(systems)
        self._clients: dict[int, AsyncQAClient] = {}
        self._opened = AsyncExitStack()

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the models, in order."""
        return tuple(self._systems)

    async def open(self) -> None:
        """See `Backend.open`; each is asked, so that the first latency is that of a question."""
        for number, system in self._systems.items():
            client = await asyncio.to_thread(system.open)
            self._clients[number] = await self._opened.enter_async_context(client)
            await client.answer("Who?", "Anna.", version=system.version)

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._opened.aclose()

    def client(self, version: int | None, key: str | None) -> tuple[AsyncQAClient, int | None]:
        """See `Backend.client`."""
        number = next(iter(self._systems)) if version is None else version
        if number not in self._systems:
            known = ", ".join(map(str, self._systems))
            raise VersionNotFoundError(f"There is no version {number} here, but {known}.")
        return self._clients[number], self._systems[number].version

    def split(self) -> Mapping[str, float] | None:
        """See `Backend.split`."""
        return None

    async def versions(self) -> Versions:
        """See `Backend.versions`."""
        versions = [
            ServedVersion(
                version=number,
                name=system.name,
                state=AVAILABLE,
                is_default=number == next(iter(self._systems)),
                share=None,
                precision="",
                source="",
                f1=None,
                exact_match=None,
            )
            for number, system in self._systems.items()
        ]
        return Versions(model=self.model, versions=versions, split=None)

    async def is_ready(self) -> bool:
        """See `Backend.is_ready`."""
        return True

    async def models(self, known: Collection[str]) -> Collection[str]:
        """See `Backend.models`."""
        return (self.model,)

    async def check(self) -> None:
        """See `Backend.check`."""


def _numbered(systems: Sequence[System]) -> Mapping[int, System]:
    """Return systems by their versions; others get numbers that are free."""
    taken = {each.number for each in systems}
    free = (number for number in itertools.count(1) if number not in taken)
    numbered: dict[int, System] = {}
    for each in systems:
        is_own = each.number is not None and each.number not in numbered
        numbered[each.number if is_own and each.number else next(free)] = each
    return numbered


class Kept(Generic[T]):
    """What takes a request to find out, kept for a moment, and found out once at a time.

    Args:
        look: Finds it out.
    """

    def __init__(self, look: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._look = look
        self._task: asyncio.Task[T] | None = None
        self._until = 0.0

    async def get(self) -> T:
        """Return it, as it was found out a moment ago or now."""
        if self._task is None or (self._task.done() and time.monotonic() >= self._until):
            self._task = asyncio.create_task(self._look())
            self._task.add_done_callback(self._note)
        return await asyncio.shield(self._task)

    def _note(self, task: asyncio.Task[T]) -> None:
        failed = task.cancelled() or task.exception() is not None
        self._until = time.monotonic() + (0.0 if failed else _KEPT_SECONDS)
