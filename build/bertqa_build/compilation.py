"""NNCF's quantisers in C++, which are compiled once in each environment of Python."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ninja
import psutil
import torch
from nncf.torch.extensions import EXTENSION_LOAD_TIMEOUT_ENV_VAR as _TIMEOUT_VARIABLE
from nncf.torch.extensions import ExtensionLoaderTimeoutException
from nncf.torch.quantization.extensions import (
    QuantizedFunctionsCPU,
    QuantizedFunctionsCPULoader,
    QuantizedFunctionsCUDALoader,
)
from torch.utils.cpp_extension import get_default_build_root

from bertqa.artifact import file_lock
from bertqa_build.errors import BuildError
from bertqa_build.quiet import quiet

_COMPILATION_TIMEOUT = 600
"""Seconds. On two busy cores the compilation takes minutes, and NNCF allows itself one."""

_DIRECTORY_VARIABLE = "TORCH_EXTENSIONS_DIR"
_TORCH_LOCK = "lock"
_OWN_LOCK = "bert-qa.lock"


@contextmanager
def compiled_quantizers() -> Iterator[None]:
    """Compile NNCF's quantisers before the block if there are none yet, which takes up to a minute.

    `NNCF_EXTENSION_LOAD_TIMEOUT` in the environment is the limit in seconds; without it the limit
    is longer here than NNCF's own. `TORCH_EXTENSIONS_DIR` is where they are kept; without it that
    is a directory of this environment's own in PyTorch's cache, because two environments that share
    one compile again at each turn. The first `ninja` on PATH is the one that NNCF depends on:
    another version would compile again what this one compiled.

    PyTorch locks the directory by a file that outlives a process that is killed, and waits for it
    without an end. Builds take turns by a lock that the system drops instead, and the one whose
    turn it is removes a file of PyTorch that no process has open.

    Raises:
        BuildError: The limit is reached.
    """
    limit = os.environ.get(_TIMEOUT_VARIABLE, str(_COMPILATION_TIMEOUT))
    path = os.pathsep.join([ninja.BIN_DIR, os.environ.get("PATH", os.defpath)])
    kept = os.environ.get(_DIRECTORY_VARIABLE, str(_own_directory()))
    with _environment({_TIMEOUT_VARIABLE: limit, _DIRECTORY_VARIABLE: kept, "PATH": path}):
        try:
            with quiet(), _turn():
                QuantizedFunctionsCPU.get("Quantize_forward")
            yield
        except ExtensionLoaderTimeoutException as error:
            raise BuildError(
                f"NNCF did not compile its quantisers within {limit} seconds. If another program "
                f"compiles them in {QuantizedFunctionsCPULoader.get_build_dir()}, wait for it; on "
                f"a slow machine, set {_TIMEOUT_VARIABLE} to more seconds. Then run the same "
                "command again.",
                detail=str(error),
            ) from error


def _own_directory() -> Path:
    """Return where this environment keeps what it compiles, which no other one shares."""
    name = "\n".join((sys.prefix, sys.version, torch.__version__))
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Path(get_default_build_root(), f"bert-qa-{digest[:8]}")


@contextmanager
def _turn() -> Iterator[None]:
    """Let one build at a time compile, and remove what a killed one left."""
    folders = [Path(QuantizedFunctionsCPULoader.get_build_dir())]
    if torch.cuda.is_available():
        folders.append(Path(QuantizedFunctionsCUDALoader.get_build_dir()))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without locks, or a read-only one
            stack.enter_context(file_lock(folders[0] / _OWN_LOCK))
            for folder in folders:
                lock = folder / _TORCH_LOCK
                if lock.exists() and not _is_open(lock):
                    lock.unlink(missing_ok=True)
        yield


def _is_open(path: Path) -> bool:
    """Return whether a process has a file open, as the one has that PyTorch lets compile."""
    wanted = str(path.resolve())
    return any(
        file.path == wanted
        for process in psutil.process_iter(["open_files"])
        for file in process.info["open_files"] or ()
    )


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
