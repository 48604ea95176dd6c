"""Servers that are measured: each on a configuration of its own, beside the user's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import (
    CONFIG_FILE,
    MODEL_NAME,
    PRECISIONS,
    OvmsConfig,
    Repository,
    specific_versions,
    usable_cores,
)
from bertqa.load import Candidate, LoadTest, System, Target
from bertqa_serve.command import Engine, EngineKind
from bertqa_serve.launcher import Running, running
from bertqa_serve.options import ServeOptions
from bertqa_serve.ports import ports_of_the_system
from bertqa_serve.selection import choose_engine

_TIMEOUT_SECONDS = 60.0


def engine_that_is_tuned(requested: str = "auto") -> Engine:
    """Return the engine whose settings are measured: a real `ovms`, else the local engine.

    A container has its own limits, and sees no directory but its repository.

    Args:
        requested: "ovms" or "local", or "auto" for the first of them that is there.

    Raises:
        EngineNotFoundError: The requested engine is not on this machine.
    """
    engine = choose_engine(requested)
    return choose_engine("local") if engine.kind is EngineKind.CONTAINER else engine


def properties_of(repository: Repository, model: str = MODEL_NAME) -> dict[str, str]:
    """Return OpenVINO's properties that a server of a repository has: its `plugin_config`.

    Args:
        repository: The repository.
        model: The model's name.

    Returns:
        The properties of `config.json`, or where that has none, those for this machine.

    Raises:
        ConfigError: The `config.json` cannot be read.
    """
    path = repository.config_path
    config = OvmsConfig.read(path) if path.exists() else OvmsConfig.default(path, model)
    if not config.has(model):
        config = OvmsConfig.default(path, model)
    found = config.fitted(usable_cores()).entry(model)["plugin_config"]
    return {name: str(value) for name, value in found.items()}


def candidate_of(repository: Repository, default: Candidate, model: str = MODEL_NAME) -> Candidate:
    """Return the settings that a server of a repository has, as far as they can be raced.

    Args:
        repository: The repository.
        default: What a server has without settings.
        model: The model's name.

    Returns:
        The default with the threads, streams and precision of `config.json`.

    Raises:
        ConfigError: The `config.json` cannot be read.
    """
    found = properties_of(repository, model)

    def number(name: str, otherwise: int) -> int:
        text = found.get(name, "")
        return int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else otherwise

    precision = found.get("INFERENCE_PRECISION_HINT")
    return replace(
        default,
        threads=number("INFERENCE_NUM_THREADS", default.threads),
        streams=number("NUM_STREAMS", default.streams),
        precision=precision if precision in PRECISIONS else default.precision,
    )


@contextmanager
def server_beside(
    repository: Path,
    engine: EngineKind,
    versions: Sequence[int],
    model: str = MODEL_NAME,
    *,
    properties: Mapping[str, str] | None = None,
    ports: tuple[int, int] | None = None,
    on_progress: OnProgress = ignore,
    **settings: Any,
) -> Iterator[Running]:
    """Run a server on some versions of a repository, on ports that are free.

    Args:
        repository: The repository, which is read only.
        engine: What serves.
        versions: The versions that it has.
        model: The model's name.
        properties: OpenVINO's properties; those for this machine if left out.
        ports: For gRPC and REST; ports that are free if left out.
        on_progress: Called with the progress of the warm-up.
        **settings: Others of `ServeOptions`, such as `threads`.

    Yields:
        The server, ready and warm.

    Raises:
        ServeError: It cannot be started, or ended by itself.
        RepositoryError: There is no such version.
        ModelLoadError: A version cannot be loaded.
    """
    for each in versions:
        Repository(repository).require_version(each, model)
    with TemporaryDirectory(prefix="bert-qa-bench-") as folder:
        path = Path(folder) / CONFIG_FILE
        config = OvmsConfig.default(path, model).fitted(usable_cores(), properties)
        entry = {
            **config.entry(model),
            "base_path": str((repository / model).absolute()),
            "model_version_policy": specific_versions(versions),
        }
        path.write_text(config.edited(entry).new_text, encoding="utf-8")
        port, rest_port = ports or ports_of_the_system(2)
        options = ServeOptions(
            repository=Path(folder),
            engine=engine,
            model=model,
            port=port,
            rest_port=rest_port,
            poll_seconds=0,
            **settings,
        )
        with running(options, log=lambda _: None, on_progress=on_progress) as server:
            yield server


@dataclass(frozen=True, slots=True)
class ServerLaboratory:
    """Runs a server for each of several settings; see `bertqa.load.tune`.

    Attributes:
        repository: The repository, which is read only.
        engine: What serves.
        test: What is asked, and how long.
        model: The model's name.
        on_progress: Called as servers start and stages end.
    """

    repository: Path
    engine: Engine
    test: LoadTest
    model: str = MODEL_NAME
    on_progress: OnProgress = ignore

    @contextmanager
    def __call__(self, candidates: Sequence[Candidate]) -> Iterator[list[System]]:
        """Run a system for each candidate; those that need the same server share it.

        Args:
            candidates: The candidates.

        Yields:
            The systems.

        Raises:
            ServeError: A server cannot be started, or ended by itself.
            ModelLoadError: A version cannot be loaded.
        """
        with ExitStack() as opened:
            servers: dict[Candidate, Running] = {}
            systems = []
            for each in candidates:
                if each.server not in servers:
                    servers[each.server] = opened.enter_context(self._server(each))
                systems.append(opened.enter_context(self._system(each, servers[each.server])))
            yield systems

    def _server(self, candidate: Candidate) -> AbstractContextManager[Running]:
        self.on_progress(Progress(f"Starting {candidate}", 0, None))
        return server_beside(
            self.repository,
            self.engine.kind,
            [candidate.version],
            self.model,
            threads=candidate.threads,
            streams=candidate.streams,
            precision=candidate.precision,
        )

    def _system(self, candidate: Candidate, server: Running) -> AbstractContextManager[System]:
        arguments = {
            "url": server.grpc_url,
            "metadata_url": server.rest_url,
            "model": self.model,
            "timeout": _TIMEOUT_SECONDS,
            "token_budget": candidate.token_budget,
        }
        target = Target(arguments, candidate.version, name=str(candidate))
        return System.opened(target, self.test, self.on_progress)
