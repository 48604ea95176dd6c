"""A directory in the hub's layout, which appears by a rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertqa._progress import OnProgress, Progress
from bertqa._reason import reason_of
from bertqa.artifact import make_readable, naming
from bertqa_deploy.errors import StorageError, VersionExistsError
from bertqa_deploy.registries.package import Package, PackageFile
from bertqa_deploy.registries.registry import Fetched, Pushed
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.version import CHUNK_BYTES

_NOTE = "It loads as it is in Optimum-Intel, Optimum and ONNX Runtime."


class DirectoryRegistry:
    """Packages in directories; see `Registry`."""

    def push(
        self, address: Address, package: Package, on_progress: OnProgress, *, public: bool
    ) -> Pushed:
        """Write a package beside its place, and rename it; see `Registry.push`."""
        target = Path(address.path)
        with _explained(target):
            if _holds(target, package):
                return Pushed(str(address), (), _NOTE)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                for file in package.files:
                    _write(file, staged / file.path, on_progress)
                make_readable(staged)
                staged.rename(target)  # An empty directory may be there.
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
        return Pushed(str(address), [file.path for file in package.files], _NOTE)

    @contextmanager
    def fetch(self, address: Address, on_progress: OnProgress) -> Iterator[Fetched]:
        """Yield a package whose files stay where they are; see `Registry.fetch`."""
        root = Path(address.path)
        if not root.is_dir():
            raise StorageError(f"There is no directory {root}.")
        with _explained(root):
            fetched = Fetched.of_directory(str(root), root)
        yield fetched


def _holds(target: Path, package: Package) -> bool:
    """Return whether a package is there; raise where something else is."""
    if not os.path.lexists(target):
        return False
    if not target.is_dir() or target.is_symlink():
        raise VersionExistsError(f"{target} is there and is not a directory. Nothing was changed.")
    if not any(target.iterdir()):
        return False
    for file in package.files:
        found = target / file.path
        if not found.is_file() or not file.is_same(found):
            raise VersionExistsError(
                f"{target} holds something else: its {file.path} is "
                f"{'another file' if found.exists() else 'missing'}. Name an empty directory, or "
                "one that is not there. Nothing was changed."
            )
    return True


def _write(file: PackageFile, path: Path, on_progress: OnProgress) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with file.open() as source, naming(path), path.open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            done += target.write(chunk)
            on_progress(Progress(f"Sending {file.path}", done, file.size, "bytes"))
    if not file.is_same(path):
        raise StorageError(f"{path} is not what was written there: is the disk sound?")


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or target} cannot be used: {reason_of(error)}. Nothing appeared in "
            f"{target}."
        ) from error
