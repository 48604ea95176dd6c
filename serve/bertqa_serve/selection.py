"""Choosing the engine that serves: a real `ovms`, its container image, or the local engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bertqa_serve.command import CONTAINER_IMAGE, Engine, EngineKind, local_program
from bertqa_serve.errors import EngineNotFoundError

AUTO = "auto"
OVMS_BINARY = "OVMS_BINARY"
_CONTAINER_PROGRAMS = ("docker", "podman")
_INSPECT_SECONDS = 20.0


def choose_engine(
    requested: str = AUTO,
    ovms_path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    image: str = CONTAINER_IMAGE,
) -> Engine:
    """Choose what serves: the first engine that is on this machine, or the requested one.

    Args:
        requested: "ovms", "container" or "local", or "auto" for the first of them that is there.
        ovms_path: The `ovms` program. By default the variable OVMS_BINARY names it, or it is
            searched on PATH.
        environment: The environment variables, by default those of this process.
        image: The image of the container.

    Returns:
        The engine, with its program or image.

    Raises:
        EngineNotFoundError: The requested engine is not on this machine.
    """
    environment = os.environ if environment is None else environment
    kind = None if requested == AUTO else _kind(requested)
    if kind in (None, EngineKind.OVMS):
        found = _find_ovms(ovms_path, environment)
        if found:
            return found
        if kind:
            raise EngineNotFoundError(
                f"There is no ovms on this machine: name it with --ovms PATH, set {OVMS_BINARY}, "
                "or add it to PATH."
            )
    if kind in (None, EngineKind.CONTAINER):
        found = _find_container(environment, image)
        if found:
            return found
        if kind:
            raise EngineNotFoundError(
                f"Neither docker nor podman has the image {image}: `docker pull {image}` gets it."
            )
    reason = "it was requested" if kind else "there is neither an ovms nor its container image"
    return Engine(EngineKind.LOCAL, local_program(), reason)


def _kind(requested: str) -> EngineKind:
    try:
        return EngineKind(requested)
    except ValueError as error:
        choices = ", ".join((AUTO, *EngineKind))
        raise EngineNotFoundError(
            f"There is no engine {requested}: choose one of {choices}."
        ) from error


def _find_ovms(ovms_path: Path | None, environment: Mapping[str, str]) -> Engine | None:
    named = {"--ovms names it": ovms_path, f"{OVMS_BINARY} names it": environment.get(OVMS_BINARY)}
    for reason, path in named.items():
        if path:
            if not os.access(path, os.X_OK) or not Path(path).is_file():
                raise EngineNotFoundError(f"{path} is not a program that can be run ({reason}).")
            return Engine(EngineKind.OVMS, Path(path).absolute(), reason)
    on_path = shutil.which("ovms", path=environment.get("PATH", ""))
    return Engine(EngineKind.OVMS, Path(on_path), "it is on PATH") if on_path else None


def _find_container(environment: Mapping[str, str], image: str) -> Engine | None:
    for name in _CONTAINER_PROGRAMS:
        program = shutil.which(name, path=environment.get("PATH", ""))
        if not program:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            inspected = subprocess.run(
                [program, "image", "inspect", image],
                capture_output=True,
                timeout=_INSPECT_SECONDS,
                check=False,
            )
            if inspected.returncode == 0:
                return Engine(EngineKind.CONTAINER, Path(program), f"{name} has {image}", image)
    return None
