"""The folder in which a repository's writer keeps what is unfinished, and how it is settled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

from bertqa.artifact._files import (
    DIRECTORY_MODE,
    partial_of,
    read_regular,
    sha256_of,
    sync,
    write_whole,
)
from bertqa.artifact._manifest import MANIFEST_FILE
from bertqa.artifact._ovms_config import OvmsConfig
from bertqa.artifact._repository import IR_FILE, ONNX_FILE, Repository
from bertqa.errors import RepositoryError

WORK_FOLDER = ".bert-qa"


@dataclass(frozen=True, slots=True)
class _Move:
    """A staged directory that becomes a version; `staged` is relative to the work folder."""

    staged: Annotated[str, Field(pattern=r"^(staged|copies)/[^/]*[^/.][^/]*$")]
    model: Annotated[str, Field(pattern=r"^[^/]*[^/.][^/]*$")]
    version: PositiveInt
    manifest_sha256: str


_MOVES = TypeAdapter(Annotated[list[_Move], Field(min_length=1)])


class WorkFolder:
    """The work folder of one repository; only the holder of `lock` may call its methods."""

    def __init__(self, repository: Repository) -> None:
        """Name the folder; nothing is made."""
        self._repository = repository
        self.path = repository.root / WORK_FOLDER
        self.lock = self.path / "lock"
        self.switch_lock = self.path / "switch.lock"
        self.numbers = self.path / "numbers.json"
        self.staged = self.path / "staged"
        self.copies = self.path / "copies"
        self._journal = self.path / "journal.json"

    def check(self) -> None:
        """Refuse a folder that a writer must not use, before anything is made or removed in it.

        Raises:
            RepositoryError: It, or what is in it, is a symbolic link, or a directory where a file
                has to be or the other way round; or the root is a file, or inside a model's
                directory or a work folder.
        """
        root = self._repository.root
        _refuse_dangling(root)
        if root.exists() and not root.is_dir():
            raise _wrong_kind(root, "directory")
        _refuse_inside(root)
        for directory in (self.path, self.copies):
            require_kind(directory, directory=True)
        for file in (self.lock, self.switch_lock, self.numbers):
            require_kind(file, directory=False)
        for path in (self.staged, self._journal):
            refuse_link(path)

    def is_interrupted(self) -> bool:
        """Return whether there are arrivals that a writer carries out, or died over."""
        return self._journal.is_file()

    def carry_out(self, arrivals: Sequence[tuple[Path, str, int]]) -> None:
        """Let staged directories appear as versions, in such a way that a kill is made good.

        Args:
            arrivals: For each the staged directory, the model and the version, in their order.

        Raises:
            OSError: The disk cannot be written.
        """
        moves = [
            _Move(str(staged.relative_to(self.path)), model, version, _digest(staged))
            for staged, model, version in arrivals
        ]
        write_whole(self._journal, _MOVES.dump_json(moves).decode())
        self._finish(moves)

    def settle(self) -> None:
        """Complete the arrivals that a journal names, or remove their half, and clear the rest.

        Raises:
            OSError: The disk cannot be written.
        """
        if self._journal.is_file():
            try:
                moves = _MOVES.validate_json(read_regular(self._journal))
            except ValidationError:
                self._journal.unlink()
            else:
                self._finish(moves)
        self._clear()

    def discard(self, directory: Path) -> None:
        """Remove a version's directory, which disappears whole.

        Args:
            directory: The directory.

        Raises:
            RepositoryError: The model's directory is a symbolic link.
            OSError: The disk cannot be written.
        """
        refuse_link(directory.parent)
        discarded = self.staged / f"discarded-{directory.parent.name}-{directory.name}"
        discarded.parent.mkdir(exist_ok=True)
        directory.rename(discarded)
        sync(directory.parent)
        remove_path(discarded)

    def _finish(self, moves: Sequence[_Move]) -> None:
        """Carry out what is left of a journal's moves, or undo them; the journal is gone then."""
        try:
            there = [move for move in moves if self._is_there(move)]
            left = [move for move in moves if move not in there]
            if moves[-1] in left and all(map(self._can_appear, left)):
                for move in left:
                    self._move(move)
        finally:
            self._end(moves)

    def _end(self, moves: Sequence[_Move]) -> None:
        """Remove the half of a version that did not appear, and the journal."""
        if not self._is_there(moves[-1]):
            for move in filter(self._is_there, moves):
                self.discard(self._target(move))
        self._journal.unlink()
        sync(self.path)

    def _move(self, move: _Move) -> None:
        target = self._target(move)
        if not target.parent.is_dir():
            # Made aside, it is never seen with another mode, not even after a kill.
            empty = self.staged / f"empty-{move.model}"
            empty.mkdir(parents=True, exist_ok=True)
            empty.chmod(DIRECTORY_MODE)
            empty.rename(target.parent)
            sync(target.parent.parent)
        (self.path / move.staged).rename(target)
        sync(target.parent)

    def _target(self, move: _Move) -> Path:
        return self._repository.version_dir(move.version, move.model)

    def _is_there(self, move: _Move) -> bool:
        staged, target = self.path / move.staged, self._target(move)
        return not staged.exists() and target.is_dir() and _digest(target) == move.manifest_sha256

    def _can_appear(self, move: _Move) -> bool:
        staged, target = self.path / move.staged, self._target(move)
        return staged.is_dir() and not staged.is_symlink() and not os.path.lexists(target)

    def _clear(self) -> None:
        """Remove what is not needed: all but locks, numbers and the copies that can be resumed."""
        for path in self.path.iterdir():
            if path in (self.lock, self.switch_lock, self.numbers, self.copies):
                continue
            remove_path(path)
        for copy in self.copies.glob("*"):
            model, _, version = copy.name.rpartition("-")[0].rpartition("-")
            odd = copy.is_symlink() or not copy.is_dir()
            if odd or (self._repository.root / model / version).exists():
                remove_path(copy)
        config = Path(os.path.realpath(self._repository.config_path))
        partial_of(config).unlink(missing_ok=True)


def require_sound(repository: Repository, *models: str) -> None:
    """Refuse a repository that cannot be written, before the work for it.

    Args:
        repository: The repository; it need not exist.
        *models: The models that are to be written.

    Raises:
        RepositoryError: The work folder, a model's directory or `config.json` is a symbolic link
            that a writer does not follow, or of another kind.
    """
    WorkFolder(repository).check()
    for model in models:
        require_kind(repository.root / model, directory=True)
    config = repository.config_path
    _refuse_dangling(config)
    if config.is_dir():
        raise _wrong_kind(config, "file")


def require_publishable(repository: Repository, *models: str) -> None:
    """Refuse a repository to which versions cannot be published, before the work for them.

    Args:
        repository: The repository; it need not exist.
        *models: The models that are to be published.

    Raises:
        ConfigError: `config.json` cannot be read, or OVMS would refuse it.
        RepositoryError: See `require_sound`.
    """
    require_sound(repository, *models)
    if repository.config_path.exists():
        OvmsConfig.read(repository.config_path)


def _refuse_inside(root: Path) -> None:
    """Refuse a root in a model's directory, which servers scan, or where a writer clears."""
    inside = Path(os.path.realpath(root))
    for directory in (inside, *inside.parents[:2]):
        if any(next(directory.glob(f"[0-9]*/{name}"), None) for name in (IR_FILE, ONNX_FILE)):
            raise RepositoryError(
                f"{root} is not a place for a model repository: {directory} is the directory of a "
                f"model in one. Nothing was changed. The repository is {directory.parent}."
            )
    if WORK_FOLDER in inside.parts:
        raise RepositoryError(
            f"{root} is not a place for a model repository: it is in a folder {WORK_FOLDER}, which "
            "belongs to another one and is cleared. Nothing was changed. Choose another directory."
        )


def _refuse_dangling(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise RepositoryError(
            f"{path} is a symbolic link to {path.readlink()}, which does not exist. Nothing was "
            "changed. Remove the link, or make what it leads to."
        )


def _wrong_kind(path: Path, kind: str) -> RepositoryError:
    return RepositoryError(
        f"{path} cannot be written: it has to be a {kind}, and is something else. Nothing was "
        "changed. Move it away first."
    )


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link: what is written or removed through it may belong to others.

    Args:
        path: What must not be one; it need not exist.

    Raises:
        RepositoryError: It is one.
    """
    if path.is_symlink():
        raise RepositoryError(
            f"{path} is a symbolic link (to {path.readlink()}), and a model repository is not "
            "written through one: files outside it could be lost. Nothing was changed. Remove the "
            "link, or put what it leads to in its place."
        )


def require_kind(path: Path, *, directory: bool) -> None:
    """Refuse what is not a real directory, or not a regular file.

    Args:
        path: The directory or file; it need not exist.
        directory: Which of both it has to be.

    Raises:
        RepositoryError: It is a symbolic link, or of another kind.
    """
    refuse_link(path)
    if path.exists() and not (path.is_dir() if directory else path.is_file()):
        raise _wrong_kind(path, "directory" if directory else "file")


def remove_path(path: Path) -> None:
    """Remove a file, a link (and not what it leads to), or a directory with all in it.

    Args:
        path: What is removed; it exists.

    Raises:
        OSError: It cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _digest(directory: Path) -> str:
    """Return the digest of a version's manifest, or an empty text where it has none."""
    manifest = directory / MANIFEST_FILE
    return sha256_of(manifest) if manifest.is_file() else ""
