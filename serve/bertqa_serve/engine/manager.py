"""The models and versions in memory: loading, retiring, and finding the one for a request."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from grpc import StatusCode

from bertqa._reason import reason_of
from bertqa.errors import ConfigError, ModelLoadError
from bertqa_serve.engine.config import ModelConfig, ServerConfig
from bertqa_serve.engine.metrics import Metrics
from bertqa_serve.engine.model import LoadedModel
from bertqa_serve.engine.request_error import RequestError, not_found

logger = logging.getLogger("bertqa_serve")

_LEADING_NUMBER = re.compile(r"[0-9]+")

MODEL_NOT_FOUND = "Model with requested name is not found"
VERSION_NOT_FOUND = "Model with requested version is not found"
VERSION_NOT_LOADED = "Model with requested version is not loaded yet"
VERSION_RETIRED = "Model with requested version is retired"


class State(StrEnum):
    """The state of a version, in OVMS's words."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(eq=False, slots=True)
class Version:
    """One version of a model.

    A version that failed to load stays LOADING. `settled` is set while no loading is under way.
    """

    number: int
    state: State = State.LOADING
    failed: bool = False
    loaded: LoadedModel | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def status(self) -> dict[str, object]:
        """Return its state as `/v1/config` reports it."""
        code = "UNKNOWN" if self.failed else "OK"
        return {
            "version": str(self.number),
            "state": str(self.state),
            "status": {"error_code": code, "error_message": code},
        }

    def in_memory(self) -> LoadedModel:
        """Return the loaded model.

        Raises:
            RequestError: The version is loading or retired.
        """
        if self.state is State.LOADING:
            raise RequestError(StatusCode.UNAVAILABLE, VERSION_NOT_LOADED)
        if self.loaded is None:
            raise not_found(VERSION_RETIRED)
        return self.loaded


@dataclass(eq=False, slots=True)
class Model:
    """The versions of a model by their numbers; they stay known after they are retired."""

    versions: dict[int, Version] = field(default_factory=dict)

    def available(self) -> list[Version]:
        """Return the versions that answer requests, in ascending order."""
        found = (v for v in self.versions.values() if v.state is State.AVAILABLE)
        return sorted(found, key=lambda version: version.number)

    def serves(self, number: int, config: ModelConfig) -> bool:
        """Return whether a version is available and loaded as the configuration says.

        Args:
            number: The version.
            config: The model's configuration.
        """
        version = self.versions.get(number)
        return bool(version and version.loaded and version.loaded.config.loads_like(config))

    def version(self, number: int | None) -> Version:
        """Return a version; without a number, the highest that is available.

        As in OVMS, the last one stays the default until its last request has ended.

        Raises:
            RequestError: There is no such version.
        """
        if number is None:
            for state in (State.AVAILABLE, State.UNLOADING):
                found = [n for n, version in self.versions.items() if version.state is state]
                if found:
                    return self.versions[max(found)]
            raise not_found(VERSION_NOT_FOUND)
        if number not in self.versions:
            raise not_found(VERSION_NOT_FOUND)
        return self.versions[number]


class ModelManager:
    """Keeps the models in memory in step with `config.json` and the directories that it names.

    All its state belongs to one event loop; only loading and unloading run in other threads.

    Args:
        source: The path of the file, or a configuration that never changes.
        metrics: What records that versions are loaded and retired.
    """

    def __init__(self, source: Path | ServerConfig, metrics: Metrics) -> None:
        self.models: dict[str, Model] = {}
        self.ready = False
        self._source = source
        self._config = source if isinstance(source, ServerConfig) else ServerConfig(())
        self._applied: str | None = None
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._reported: dict[str, str] = {}

    def model(self, name: str) -> Model:
        """Return a model by its name.

        Raises:
            RequestError: There is no such model.
        """
        if name not in self.models:
            raise not_found(MODEL_NOT_FOUND)
        return self.models[name]

    def status(self) -> dict[str, object]:
        """Return the states of all versions as `GET /v1/config` reports them."""
        return {
            name: {
                "model_version_status": [
                    model.versions[number].status() for number in sorted(model.versions)
                ]
            }
            for name, model in sorted(self.models.items())
        }

    async def load(self) -> None:
        """Load everything for the first time; the log and `status` report models that fail.

        Raises:
            ConfigError: The configuration is missing or wrong.
        """
        async with self._turn:
            try:
                text = self._read()
            except OSError as error:
                raise ConfigError(f"{self._source} cannot be read: {reason_of(error)}.") from error
            try:
                self._parse(text)
            except ConfigError as error:
                message = f"{self._source} is not a configuration for this server. {error}"
                raise ConfigError(message) from error
            if await self._reconcile() is None:
                self._applied = text
        self.ready = True

    async def reload(self) -> None:
        """Bring memory in step with the configuration and the directories.

        Raises:
            RequestError: Something failed. What could be applied has been.
        """
        async with self._turn:
            try:
                text = self._read()
            except OSError as error:
                self._report("config", f"{self._source} cannot be read: {reason_of(error)}")
                text_of_failure = "Config file not found or cannot open."
                raise RequestError(StatusCode.INTERNAL, text_of_failure) from error
            changed = text != self._applied
            what = "config file" if changed else "models versions"
            text_of_failure = f"Reloading {what} failed. Check server logs for more info."
            try:
                if changed:
                    self._parse(text)
            except ConfigError as error:
                self._report("config", f"{self._source}: {error}")
                raise RequestError(StatusCode.FAILED_PRECONDITION, text_of_failure) from error
            self._reported.pop("config", None)
            code = await self._reconcile()
            if changed:
                self._applied = text if code is None else None
            if code is not None:
                raise RequestError(code, text_of_failure)

    async def watch(self, seconds: float) -> None:
        """Reload every so many seconds, for ever.

        Args:
            seconds: The time between the end of one reload and the next.
        """
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.reload()
            except RequestError:
                pass  # It has been logged, and the next look may find it mended.
            except Exception:
                logger.exception("Looking for changes failed")

    async def close(self) -> None:
        """Unload all models when their running requests have ended."""
        async with self._turn:
            for model in self.models.values():
                for version in model.available():
                    await self._retire(version)

    def _read(self) -> str:
        if isinstance(self._source, ServerConfig):
            return ""
        return self._source.read_text(encoding="utf-8", errors="replace")

    def _parse(self, text: str) -> None:
        if isinstance(self._source, Path):
            self._config = ServerConfig.parse(text, self._source.parent)

    async def _reconcile(self) -> StatusCode | None:
        """Load and retire until memory is as the configuration says; return the first failure."""
        codes: list[StatusCode] = []
        configs: dict[str, ModelConfig] = {}
        for config in self._config.models:
            if config.name in configs:
                self._report(config.name, f"{config.name} is in the configuration twice")
                codes.append(StatusCode.INTERNAL)
                continue
            configs[config.name] = config
            model = self.models.setdefault(config.name, Model())
            code = await self._reconcile_model(model, config)
            if code is not None:
                codes.append(code)
        for name in self.models.keys() - configs.keys():
            await self._retire_all_but(self.models[name], set())
        return codes[0] if codes else None

    async def _reconcile_model(self, model: Model, config: ModelConfig) -> StatusCode | None:
        try:
            on_disk = _versions_on_disk(config.base_path)
        except OSError as error:
            self._report(config.name, f"{config.name}: {error}")
            return StatusCode.INVALID_ARGUMENT
        failed: dict[int, StatusCode] = {}
        while True:
            wanted = config.policy.choose([v for v in on_disk if v not in failed])
            new = [number for number in wanted if not model.serves(number, config)]
            if not new:
                break
            for number in new:
                code = await self._load(model, number, config)
                if code is not None:
                    failed[number] = code
        await self._retire_all_but(model, {*wanted, *failed})
        return next(iter(failed.values()), None)

    async def _load(self, model: Model, number: int, config: ModelConfig) -> StatusCode | None:
        version = model.versions.setdefault(number, Version(number))
        if version.state is not State.AVAILABLE:
            version.state = State.LOADING
            version.settled.clear()
        where = f"{config.name} version {number}"
        try:
            assert config.base_path is not None
            loaded = await asyncio.to_thread(LoadedModel, config.base_path / str(number), config)
        except (ModelLoadError, FileNotFoundError) as error:
            version.failed = version.state is State.LOADING
            self._report(where, f"{where}: {error} {getattr(error, 'detail', None) or ''}")
            missing = isinstance(error, FileNotFoundError)
            return StatusCode.INVALID_ARGUMENT if missing else StatusCode.INTERNAL
        finally:
            version.settled.set()
        before, version.loaded = version.loaded, loaded
        version.state, version.failed = State.AVAILABLE, False
        self._reported.pop(where, None)
        self._metrics.loaded(config.name, number, loaded.nireq, loaded.streams)
        logger.info("%s is available", where)
        if before:
            await asyncio.to_thread(before.close)
        return None

    async def _retire_all_but(self, model: Model, numbers: set[int]) -> None:
        for number, version in model.versions.items():
            if number not in numbers and version.state is not State.END:
                await self._retire(version)

    async def _retire(self, version: Version) -> None:
        version.state, version.failed = State.UNLOADING, False
        loaded, version.loaded = version.loaded, None
        if loaded:
            await asyncio.to_thread(loaded.close)
            self._metrics.retired(loaded.config.name, version.number)
            logger.info("%s version %d is retired", loaded.config.name, version.number)
        version.state = State.END

    def _report(self, subject: str, text: str) -> None:
        """Log what is wrong once, and not at every look."""
        if self._reported.get(subject) != text:
            self._reported[subject] = text
            logger.error(text)


def _versions_on_disk(base_path: Path | None) -> list[int]:
    """List the versions that a directory holds, reading names as leniently as OVMS does."""
    if base_path is None:
        return []
    matches = (_LEADING_NUMBER.match(entry.name) for entry in base_path.iterdir() if entry.is_dir())
    return sorted({int(match[0]) for match in matches if match} - {0})
