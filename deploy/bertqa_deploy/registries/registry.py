"""What a registry does: take a package, and return its files."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bertqa._progress import OnProgress
from bertqa_deploy.registries.package import Package
from bertqa_deploy.storage.address import Address


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a registry has now.

    Attributes:
        to: Where it is, as a person finds it.
        sent: The paths of the files that were sent now.
        note: A sentence on what is special of the place.
    """

    to: str
    sent: Collection[str]
    note: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A package in a registry, of which the files are fetched one by one.

    Attributes:
        origin: The address with the revision that it led to.
        paths: The paths of all its files.
        file: Returns where a file is on this machine, by its path in the package. With True it is
            fetched anew: what was kept of an earlier time is damaged.
    """

    origin: str
    paths: Collection[str]
    file: Callable[[str, bool], Path]

    @classmethod
    def of_directory(cls, origin: str, root: Path) -> Fetched:
        """Return a package that is in a directory.

        Args:
            origin: The address with the revision that it led to.
            root: The directory.

        Raises:
            OSError: It cannot be read.
        """
        paths = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        return cls(origin, paths, lambda path, _: root / path)


class Registry(Protocol):
    """A kind of registry; each has an entry in `REGISTRIES`."""

    def push(
        self, address: Address, package: Package, on_progress: OnProgress, *, public: bool
    ) -> Pushed:
        """Store a package, whole or not at all; what is there and the same is not sent again.

        Args:
            address: Where.
            package: The package.
            on_progress: Called with the bytes of each file that are sent.
            public: Whether everybody may read a model that does not exist yet.

        Returns:
            What is there now.

        Raises:
            InvalidOptionError: Nothing can be pushed to the address.
            StorageError: The registry cannot be reached or written.
            VersionExistsError: Something else is there.
        """
        ...

    def fetch(self, address: Address, on_progress: OnProgress) -> AbstractContextManager[Fetched]:
        """Open a package.

        Args:
            address: Where it is.
            on_progress: Called with the bytes of each file that are received.

        Returns:
            The package, whose files are there within the block.

        Raises:
            StorageError: The registry cannot be reached, or there is no such package.
        """
        ...
