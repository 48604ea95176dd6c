"""Choosing the model's file and the engine that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertqa import _checks
from bertqa._reason import reason_of
from bertqa._words import first_of
from bertqa.artifact import IR_FILE, ONNX_FILE, PINNING, Repository, plugin_config, usable_cores
from bertqa.errors import ModelLoadError, RepositoryError, VersionNotFoundError
from bertqa.runtime._engine import Engine

_SHOWN_MODELS = 10
_IR_SUFFIX, _ONNX_SUFFIX = Path(IR_FILE).suffix, Path(ONNX_FILE).suffix


def load(
    path: str | Path,
    version: int | None = None,
    *,
    scoring: bool = False,
    threads: int | None = None,
) -> Engine:
    """Load a model into this process.

    An IR (`model.xml`) is run by OpenVINO, which the extra `evaluate` installs, and an ONNX model
    (`model.onnx`) by ONNX Runtime, which the extra `onnx` installs.

    Args:
        path: A version's directory, such as `model_repository/bert-qa/2`, a model's directory,
            such as `model_repository/bert-qa`, or a model's file.
        version: The version to load; None loads the highest of a model's directory.
        scoring: Whether it is to be scored: an IR computes in FP32 what is not quantised, as for
            the scores that a version is published with, and runs several requests at once. Else
            OpenVINO chooses, as on a server, which is bf16 where the CPU has it, and a request has
            all cores.
        threads: How many threads it computes with, on any cores, where several processes share
            them; None is one for each core.

    Returns:
        The engine. Its version is the name of the version's directory, or 1 where that is not a
        number.

    Raises:
        InvalidOptionError: `path` or `version` is not valid.
        ModelLoadError: There is no model at `path`, its engine is not installed, or the engine
            cannot load it.
        NotAQAModelError: The model has no `model_info`.
        VersionNotFoundError: `path` is, or holds, other versions only.
    """
    number = _checks.optional(_checks.version)("version", version)
    place = _checks.path("path", path)
    most = _checks.optional(_checks.whole(1))("threads", threads)
    try:
        file = find_model(place, number)
    except OSError as error:
        raise ModelLoadError(f"{place} cannot be read: {reason_of(error)}.") from error
    loaded = _number_of(file.parent) or 1
    if file.suffix == _ONNX_SUFFIX:
        try:
            from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
        except ModuleNotFoundError as error:
            raise _not_installed(file, "ONNX Runtime", "onnxruntime", "onnx", error) from error
        return OnnxRuntimeEngine(file, version=loaded, threads=most or 0)
    try:
        from bertqa.runtime.openvino import THREADS, OpenVINOEngine, native_precision
    except ModuleNotFoundError as error:
        raise _not_installed(file, "OpenVINO", "openvino", "evaluate", error) from error
    properties: dict[str, Any] = {}
    properties |= plugin_config(usable_cores()) if scoring else native_precision()
    if most is not None:
        properties |= {THREADS: most, PINNING: "NO"}
    return OpenVINOEngine(file, version=loaded, properties=properties)


def find_model(path: Path, version: int | None = None) -> Path:
    """Return the file of the model that `load` loads. Raises what `load` raises about the path.

    Args:
        path: A model file, a version directory or a model's directory.
        version: The number, where `path` is a model's directory.

    Returns:
        The path of the file.
    """
    path = path.absolute()
    directory = path.parent if path.is_file() else path
    number = _number_of(directory)
    if number is None and not path.is_file():
        versions = Repository(directory.parent).versions(directory.name)
        if versions and version is None:
            version = versions[-1]
        if version in versions:
            directory, number = directory / str(version), version
        elif versions:
            raise _no_version(path, version, ", ".join(map(str, versions)))
        elif models := _models_in(path):
            raise ModelLoadError(
                f"{path} is a repository, and not the directory of a model: its models are "
                f"{first_of(models, _SHOWN_MODELS)}. Name one, such as {path / models[0]}."
            )
    if version is not None and version != number:
        raise _no_version(path, version, "none" if number is None else str(number))
    candidates = [path] if path.is_file() else [directory / IR_FILE, directory / ONNX_FILE]
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix in (_IR_SUFFIX, _ONNX_SUFFIX):
            return candidate
    raise ModelLoadError(
        f"{path} is neither a model nor the directory of one: looked for {IR_FILE} and "
        f"{ONNX_FILE}, there and in directories whose name is a version's number."
    )


def _models_in(path: Path) -> list[str]:
    """Return the models of a repository; none where the path is something else."""
    if any((path / name).exists() for name in (IR_FILE, ONNX_FILE)):
        return []
    try:
        return Repository(path).models()
    except RepositoryError:
        return []


def _number_of(directory: Path) -> int | None:
    name = directory.name
    return int(name) if name.isascii() and name.isdecimal() and not name.startswith("0") else None


def _no_version(path: Path, version: int | None, known: str) -> VersionNotFoundError:
    return VersionNotFoundError(f"{path} has no version {version} (versions: {known}).")


def _not_installed(
    file: Path, engine: str, package: str, extra: str, error: ModuleNotFoundError
) -> BaseException:
    """Return the error for an engine that is not there; another missing module is a fault."""
    if (error.name or "").partition(".")[0] != package:
        return error
    return ModelLoadError(
        f"{engine} runs {file}, but the package {package} is not installed. Install bertqa with "
        f"its extra `{extra}`."
    )
