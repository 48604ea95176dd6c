"""Packages that the build itself cannot have, in a directory of their own beside its own ones."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import FOR_EVER, acquire, file_lock
from bertqa_build.errors import BuildError


@dataclass(frozen=True, slots=True)
class Packages:
    """Packages with their pins.

    Attributes:
        name: What they are called.
        pins: The name of a file beside this module with all of them: nothing else is installed.
    """

    name: str
    pins: str

    @property
    def file(self) -> Path:
        """The file with the pins."""
        return Path(__file__).with_name(self.pins)


TRANSFORMERS = Packages("transformers 4", "transformers.txt")
DEEPSPARSE = Packages("DeepSparse 1.8.0", "deepsparse.txt")


def installed(packages: Packages, folder: Path, on_progress: OnProgress) -> Path:
    """Return the directory that packages are in, installed there where they are not yet.

    Args:
        packages: The packages.
        folder: Where such directories are.
        on_progress: Called before they are installed.

    Returns:
        A directory for PYTHONPATH.

    Raises:
        BuildError: They cannot be installed; `detail` is the last line of the installer.
    """
    stamp = f"{sys.version_info[:2]} {packages.file.read_text(encoding='utf-8')}"
    digest = hashlib.sha256(stamp.encode()).hexdigest()[:12]
    directory = folder / f"{packages.file.stem}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    stage = f"Installing {packages.name} into {directory}"
    lock = file_lock(folder / f"{directory.name}.lock")
    acquire(lock, FOR_EVER, lambda: on_progress(Progress(f"{stage}: another process does")))
    try:
        if not directory.is_dir():
            on_progress(Progress(stage))
            staged = folder / f".{directory.name}"
            shutil.rmtree(staged, ignore_errors=True)
            _install(packages, staged)
            staged.rename(directory)
    finally:
        lock.release()
    return directory


def _install(packages: Packages, directory: Path) -> None:
    command = [*_installer(), "--no-deps", "--target", str(directory), "-r", str(packages.file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        said = [each for each in result.stderr.splitlines() if each.strip()]
        errors = [each for each in said if each.startswith("ERROR")] or said
        raise BuildError(
            f"{packages.name} cannot be installed from the package index.",
            detail=errors[-1].strip() if errors else None,
        )


def _installer() -> list[str]:
    if find_spec("pip") is None and (uv := shutil.which("uv")):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    return [sys.executable, "-m", "pip", "install", *quiet]
