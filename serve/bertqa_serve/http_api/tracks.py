"""Servers of one version each, between which a file splits the questions, such as a chart's tracks.

The file is read again where it has changed: who writes it moves the traffic without a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bertqa import AsyncQAClient
from bertqa._checks import MOST_VERSION
from bertqa._defaults import TIMEOUT_SECONDS
from bertqa._reason import reason_of
from bertqa.artifact import ModelInfo, open_regular
from bertqa.client import WeightedRouter
from bertqa.errors import BertQAError, InvalidOptionError, NotAQAModelError, VersionNotFoundError
from bertqa.transport import AVAILABLE, AdminClient, rest_address
from bertqa.transport._address import REST_SCHEMES, Address
from bertqa_serve.http_api.backend import READY_SECONDS, Kept, recorder_of, security_of
from bertqa_serve.http_api.options import HttpApiOptions
from bertqa_serve.http_api.problems import in_words
from bertqa_serve.http_api.schema import ServedVersion, Versions

# How long a file is taken as it was read.
_FOLLOW_SECONDS = 0.5
# After so long without a question a connection to a track is closed: one that is kept, and opened
# anew whenever the server closes it, has a pod that ends wait for it as long as it may.
_IDLE_SECONDS = 5
_LONGEST_FILE = 1024 * 1024
# What a version is called that only its server knows.
_ANY = "any"
# Stands for it where a key chooses a version.
_ANY_NUMBER = MOST_VERSION

logger = logging.getLogger(__name__)


class Track(BaseModel):
    """A server, or several with the same version, and its share of the questions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(description="Its address.")]
    metadata_url: Annotated[
        str | None, Field(description="Its REST address, if it is not the gRPC port less 1000.")
    ] = None
    version: Annotated[
        int | None, Field(ge=1, le=MOST_VERSION, description="Its version; null where it varies.")
    ] = None
    weight: Annotated[float, Field(ge=0, le=100, description="Its share, in percent.")]

    @model_validator(mode="after")
    def _check(self) -> Track:
        for each in (self.url, self.metadata_url):
            if each is not None:
                Address.parse(each)
        return self


class Tracks(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracks: tuple[Track, ...]

    def shares(self) -> Mapping[str, float]:
        """Return the share of each version in percent; "any" is one that its server knows."""
        shares: dict[str, float] = defaultdict(float)
        for each in self.tracks:
            shares[_ANY if each.version is None else str(each.version)] += each.weight
        return shares

    def router(self) -> WeightedRouter:
        """Return what chooses a version.

        Raises:
            InvalidOptionError: No track has a weight.
        """
        weights: dict[int, float] = defaultdict(float)
        for each in self.tracks:
            weights[each.version or _ANY_NUMBER] += each.weight
        return WeightedRouter(weights)

    def unpinned(self) -> Tracks:
        """Return the same servers with versions that only they know."""
        servers = (each.model_copy(update={"version": None}) for each in self.tracks)
        return Tracks(tracks=tuple(servers))

    def main(self) -> Track:
        """Return the track that gets the most."""
        return max(self.tracks, key=lambda each: each.weight)

    def of(self, version: int | None) -> Track | None:
        """Return a track of a version by weight, None where there is none.

        Args:
            version: The version; None for one that its server knows.
        """
        having = [each for each in self.tracks if each.version == version]
        if not having:
            return None
        weights = [each.weight for each in having]
        return random.choices(having, weights=weights if sum(weights) else None)[0]


def read_tracks(path: Path) -> Tracks:
    """Read the file.

    Args:
        path: JSON such as `{"tracks": [{"url": "grpc://a:9000", "version": 1, "weight": 100}]}`.

    Returns:
        What it holds.

    Raises:
        InvalidOptionError: It cannot be read, or something in it is wrong.
    """
    try:
        with open_regular(path) as file:
            tracks = Tracks.model_validate_json(file.read(_LONGEST_FILE))
        tracks.router()
    except OSError as error:
        reason = reason_of(error)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = in_words(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        reason = f"{place}: {said.rstrip('.')}" if place else said.rstrip(".")
    except InvalidOptionError as error:
        reason = str(error).rstrip(".")
    else:
        return tracks
    raise InvalidOptionError(f"The tracks in {path} cannot be read: {reason}.")


class TracksBackend:
    """Servers of one version each; questions are split between them as a file says.

    Args:
        options: The file, how the servers are reached, and what is recorded.
        is_pinned: Whether the versions in the file are those of this model. Of another model each
            server has the same versions, and answers with its default one.
    """

    def __init__(self, options: HttpApiOptions, *, is_pinned: bool = True) -> None:
        assert options.tracks is not None
        self.model = options.model
        self._options = options
        self._path = options.tracks
        self._is_pinned = is_pinned
        self._tracks = Tracks(tracks=())
        self._router: WeightedRouter | None = None
        self._clients: dict[tuple[str, str | None], AsyncQAClient] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._signature: object = None
        self._looked_at = 0.0
        self._opened = AsyncExitStack()
        self._ready = Kept(self._look_whether_ready)
        self._served = Kept(self._look_for_versions)
        self._known: Collection[str] = ()
        self._names = Kept(self._look_for_models)
        self._recorder = recorder_of(options)

    async def open(self) -> None:
        """See `Backend.open`."""
        if self._recorder is not None:
            self._opened.callback(self._recorder.close)
        self._signature = self._sign()
        self._take(read_tracks(self._path))

    async def close(self) -> None:
        """See `Backend.close`."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        async with self._opened:
            for client in self._clients.values():
                self._opened.push_async_callback(client.close)

    def client(self, version: int | None, key: str | None) -> tuple[AsyncQAClient, int | None]:
        """See `Backend.client`."""
        self._follow()
        if version is None:
            assert self._router is not None
            picked = self._router.pick(key)
            # Whatever the server has: it may just be replaced by one of another version.
            track = self._tracks.of(None if picked == _ANY_NUMBER else picked)
        else:
            track = self._tracks.of(version) or self._tracks.of(None)
        if track is None:
            known = ", ".join(self._tracks.shares())
            raise VersionNotFoundError(f"There is no version {version} here, but {known}.")
        return self._clients[track.url, track.metadata_url], version

    def split(self) -> Mapping[str, float]:
        """See `Backend.split`."""
        self._follow()
        return self._tracks.shares()

    async def versions(self) -> Versions:
        """See `Backend.versions`."""
        return await self._served.get()

    async def is_ready(self) -> bool:
        """See `Backend.is_ready`."""
        return await self._ready.get()

    async def models(self, known: Collection[str]) -> Collection[str]:
        """See `Backend.models`: they are asked over `/v2` alone, which has no list."""
        self._known = known
        return await self._names.get()

    async def check(self) -> None:
        """See `Backend.check`."""
        tracks = read_tracks(self._path)

        def look() -> None:
            with self._admin(tracks.main(), self._options.timeout or TIMEOUT_SECONDS) as admin:
                ModelInfo.from_rt_info(admin.metadata(self.model).model_info)

        await asyncio.to_thread(look)

    async def _look_for_models(self) -> Collection[str]:
        self._follow()
        known, track = self._known, self._tracks.main()

        def look() -> Collection[str]:
            with self._admin(track, self._options.timeout or TIMEOUT_SECONDS) as admin:
                return [name for name in known if admin.is_model_ready(name)]

        return await asyncio.to_thread(look)

    def _follow(self) -> None:
        """Take the file as it is now, unless it was looked at a moment ago, or is not valid."""
        now = time.monotonic()
        if now - self._looked_at < _FOLLOW_SECONDS:
            return
        self._looked_at = now
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._take(read_tracks(self._path))
        except BertQAError as error:
            logger.warning("keeping the tracks until they can be read again: %s", error)

    def _sign(self) -> object:
        try:
            found = self._path.stat()
        except OSError as error:
            return str(error)
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _take(self, tracks: Tracks) -> None:
        if not self._is_pinned:
            tracks = tracks.unpinned()
        wanted = {(each.url, each.metadata_url) for each in tracks.tracks}
        opened = {at: self._open_client(*at) for at in wanted - self._clients.keys()}
        self._clients |= opened
        for at in self._clients.keys() - wanted:
            task = asyncio.create_task(self._retire(self._clients.pop(at)))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._router = tracks.router()
        self._tracks = tracks
        shown = ",".join(f"{version}={share:g}" for version, share in tracks.shares().items())
        logger.info("following the split %s", shown)

    def _open_client(self, url: str, metadata_url: str | None) -> AsyncQAClient:
        arguments = {**self._options.client, "traffic": None, "recorder": self._recorder}
        if Address.parse(url).scheme not in REST_SCHEMES:
            idle = {"grpc.client_idle_timeout_ms": _IDLE_SECONDS * 1000}
            given = dict(arguments.get("channel_options") or {})
            arguments["channel_options"] = {**idle, **given}
        return AsyncQAClient(**{**arguments, "url": url, "metadata_url": metadata_url})

    async def _retire(self, client: AsyncQAClient) -> None:
        """Close a client once what it was asked is answered."""
        try:
            await asyncio.sleep(self._options.timeout or self._options.drain_seconds)
        finally:
            await client.close()

    async def _look_for_versions(self) -> Versions:
        self._follow()
        tracks = self._tracks.tracks
        found = await asyncio.gather(
            *(asyncio.to_thread(self._describe, each) for each in tracks), return_exceptions=True
        )
        infos: dict[int, ModelInfo | None] = {}
        shares: dict[int, float] = defaultdict(float)
        for track, outcome in zip(tracks, found, strict=True):
            if isinstance(outcome, BertQAError):
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            number, info = outcome
            infos.setdefault(number, info)
            shares[number] += track.weight
        if not infos:
            raise next(each for each in found if isinstance(each, BertQAError))
        most = max(infos, key=lambda number: (shares[number], number))
        versions = [
            ServedVersion(
                version=number,
                name=f"version {number}",
                state=AVAILABLE,
                is_default=number == most,
                share=shares[number],
                precision=info.precision if info else "",
                source=info.source if info else "",
                f1=info.f1 if info else None,
                exact_match=info.exact_match if info else None,
            )
            for number, info in sorted(infos.items())
        ]
        return Versions(model=self.model, versions=versions, split=dict(shares))

    def _describe(self, track: Track) -> tuple[int, ModelInfo | None]:
        with self._admin(track, self._options.timeout or TIMEOUT_SECONDS) as admin:
            metadata = admin.metadata(self.model, track.version)
        info = None
        with contextlib.suppress(NotAQAModelError):
            info = ModelInfo.from_rt_info(metadata.model_info)
        return track.version or max(metadata.versions), info

    async def _look_whether_ready(self) -> bool:
        self._follow()

        def look(track: Track) -> bool:
            try:
                with self._admin(track, READY_SECONDS) as admin:
                    return admin.is_model_ready(self.model)
            except BertQAError:
                return False

        asked = [each for each in self._tracks.tracks if each.weight]
        return any(await asyncio.gather(*(asyncio.to_thread(look, each) for each in asked)))

    def _admin(self, track: Track, timeout: float) -> AdminClient:
        address = rest_address(track.url, track.metadata_url)
        return AdminClient(address, security_of(self._options), timeout=timeout)
