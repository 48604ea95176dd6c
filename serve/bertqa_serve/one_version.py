"""Serving one version of a repository, for a measurement: its files, its settings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertqa._progress import OnProgress, ignore
from bertqa.artifact import OvmsConfig, Repository, usable_cores
from bertqa_serve.command import EngineKind
from bertqa_serve.launcher import Running, running
from bertqa_serve.options import ServeOptions
from bertqa_serve.ports import any_ports


def properties_of(repository: Repository, model: str) -> dict[str, str]:
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


@contextmanager
def one_version(
    repository: Repository, model: str, version: int, *, on_progress: OnProgress = ignore
) -> Iterator[Running]:
    """Run the local engine on one version, with metrics; nothing in the repository changes.

    Args:
        repository: The repository.
        model: The model's name.
        version: The version.
        on_progress: Called with the progress of the warm-up.

    Yields:
        The server, at free ports of this machine.

    Raises:
        RepositoryError: There is no such version.
        ServeError: The server cannot be started.
        ModelLoadError: The version cannot be loaded.
    """
    directory = repository.require_version(version, model)
    properties = properties_of(repository, model)
    with tempfile.TemporaryDirectory(prefix="bert-qa-") as name:
        own = Repository(Path(name))
        (own.root / model).mkdir()
        (own.root / model / str(version)).symlink_to(directory.absolute())
        config = OvmsConfig.default(own.config_path, model).fitted(usable_cores(), properties)
        own.config_path.write_text(config.new_text, encoding="utf-8")
        port, rest_port = any_ports()
        options = ServeOptions(
            own.root,
            engine=EngineKind.LOCAL,
            model=model,
            port=port,
            rest_port=rest_port,
            own=("--metrics_enable",),
        )
        with running(options, log=lambda _: None, on_progress=on_progress) as server:
            yield server
