"""MLflow as a registry: a run with the scores as metrics, and its files as a registered version."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, Progress
from bertqa._quiet import muted
from bertqa.artifact import VersionManifest
from bertqa.errors import InvalidOptionError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.registries.package import Package
from bertqa_deploy.registries.registry import Fetched, Pushed
from bertqa_deploy.storage.address import Address

_TRACKING = "MLFLOW_TRACKING_URI"
_EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
_DIGEST_TAG = "bertqa.digest"
_FOLDER = "model"
_NO_DATABASE = " For a database, `pip install mlflow`: `mlflow-skinny` alone knows none."
# MLflow would try for minutes, and report to its makers.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class MlflowRegistry:
    """Registered models of the server or store that MLFLOW_TRACKING_URI names; see `Registry`."""

    def push(
        self, address: Address, package: Package, on_progress: OnProgress, *, public: bool
    ) -> Pushed:
        """Log a run with the files, and register them as a new version; see `Registry.push`."""
        if address.revision:
            raise InvalidOptionError(
                f"{address} names a version, and MLflow numbers versions itself: write "
                f"mlflow://{address.path}."
            )
        with _client(address) as client:
            _make_model(client, address.path)
            known = _versions(client, address.path)
            there = next((v for v in known if v.tags.get(_DIGEST_TAG) == package.digest), None)
            sent: list[str] = []
            if there is None:
                there = _register(client, address.path, package, on_progress)
                sent = [file.path for file in package.files]
            return Pushed(
                f"mlflow://{address.path}/{there.version}",
                sent,
                f"Its run {there.run_id} has the scores as metrics.",
            )

    @contextmanager
    def fetch(self, address: Address, on_progress: OnProgress) -> Iterator[Fetched]:
        """Yield a package that is downloaded into a temporary directory; see `Registry.fetch`."""
        with tempfile.TemporaryDirectory() as folder:
            with _client(address) as client:
                from mlflow.artifacts import download_artifacts

                version = _version(client, address)
                origin = f"mlflow://{address.path}/{version.version}"
                on_progress(Progress(f"Receiving {origin}"))
                uri = client.get_model_version_download_uri(address.path, version.version)
                root = Path(
                    download_artifacts(
                        artifact_uri=uri, dst_path=folder, tracking_uri=client.tracking_uri
                    )
                )
            yield Fetched.of_directory(origin, root)


def _register(client: Any, name: str, package: Package, on_progress: OnProgress) -> Any:
    experiment = os.environ.get(_EXPERIMENT) or package.name
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)
    manifest = package.manifest
    run = client.create_run(number, run_name=f"{package.name} {package.version}").info
    status = "FAILED"
    try:
        for key, metric in _metrics(manifest).items():
            client.log_metric(run.run_id, key, metric)
        for key, text in _parameters(manifest).items():
            client.log_param(run.run_id, key, text)
        _log_files(client, run.run_id, package, on_progress)
        status = "FINISHED"
    finally:
        client.set_terminated(run.run_id, status)
    tags = {_DIGEST_TAG: package.digest, "precision": manifest.precision}
    return client.create_model_version(
        name, f"{run.artifact_uri}/{_FOLDER}", run.run_id, tags=tags, await_creation_for=0
    )


def _log_files(client: Any, run: str, package: Package, on_progress: OnProgress) -> None:
    """Send each file under the name that it has in the package."""
    with tempfile.TemporaryDirectory() as folder:
        for file in package.files:
            staged = Path(folder, file.path)
            staged.parent.mkdir(exist_ok=True)
            if isinstance(file.content, bytes):
                staged.write_bytes(file.content)
            else:
                staged.symlink_to(file.content.absolute())
            stage, parent = f"Sending {file.path}", Path(_FOLDER, file.path).parent
            on_progress(Progress(stage, 0, file.size, "bytes"))
            client.log_artifact(run, str(staged), parent.as_posix())
            on_progress(Progress(stage, file.size, file.size, "bytes"))


def _metrics(manifest: VersionManifest) -> dict[str, float]:
    metrics: dict[str, float] = {}
    if manifest.scores is not None:
        metrics |= {"f1": manifest.scores.f1, "exact_match": manifest.scores.exact_match}
    gate = manifest.gate
    if gate is not None:
        drops = {"f1_drop": gate.f1_drop, "latency_ratio": gate.latency_ratio}
        metrics |= {key: value for key, value in drops.items() if value is not None}
    return metrics


def _parameters(manifest: VersionManifest) -> Mapping[str, str]:
    dataset = manifest.scores.dataset if manifest.scores else ""
    parameters = {
        "precision": manifest.precision,
        "source": manifest.source,
        "family": manifest.family,
        "dataset": dataset,
        "recipe": str(manifest.recipe.get("name", "")),
    }
    return {key: text for key, text in parameters.items() if text}


def _make_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _versions(client: Any, name: str) -> list[Any]:
    """Return the versions of a model, the newest first."""
    quoted = name.replace("'", "''")
    found = client.search_model_versions(f"name='{quoted}'")
    return sorted(found, key=lambda version: -int(version.version))


def _version(client: Any, address: Address) -> Any:
    known = _versions(client, address.path)
    wanted = address.revision or (known[0].version if known else "")
    for version in known:
        if str(version.version) == str(wanted):
            return version
    numbers = ", ".join(str(version.version) for version in reversed(known)) or "none"
    raise StorageError(
        f"The MLflow registry at {client.tracking_uri} has no {address} (versions of "
        f"{address.path}: {numbers})."
    )


@contextmanager
def _client(address: Address) -> Iterator[Any]:
    """Yield a client, and explain what it raises in the block."""
    uri = os.environ.get(_TRACKING)
    if not uri:
        raise StorageError(
            f"{_TRACKING} is not set: name the MLflow server or store that has {address}, such as "
            "http://localhost:5000 or sqlite:///mlflow.db."
        )
    with _settings(), muted("mlflow", "urllib3"):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            yield MlflowClient(uri)
        except MlflowException as error:
            text = str(error).strip()
            what = "Cannot connect to" if "API request" in text else f"{address} is refused by"
            hint = _NO_DATABASE if "unsupported URI" in text else ""
            raise StorageError(
                f"{what} the MLflow registry at {uri}.{hint}", detail=text.splitlines()[0]
            ) from error
        except ModuleNotFoundError as error:
            raise StorageError(
                f"The MLflow store {uri} needs the Python package {error.name}: pip install mlflow."
            ) from error


@contextmanager
def _settings() -> Iterator[None]:
    """Set what the environment does not."""
    own = {name: value for name, value in _SETTINGS.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
