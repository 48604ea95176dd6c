"""Write to one model repository from several processes at once, kill some, and look at the result.

    python -m tools.interleave --count 10000 [--seed N] [--jobs N]

In each case a few processes build, publish to the directory, complete `config.json` and switch, in
a random order. Some are killed with SIGKILL at a random system call that changes a file. Then one
more writer enters, and the repository has to be whole: no number was used twice, no version lacks
a file or its twin, no acknowledged edit of `config.json` is lost, modes are right, and nothing is
left over. A case that fails is named by its seed; how the system schedules it may differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from filelock import FileLock

from bertqa.artifact import (
    MODEL_NAME,
    OvmsConfig,
    Repository,
    RepositoryWriter,
    VersionManifest,
    complete_config,
)
from bertqa.artifact import _lock as lock_module
from bertqa.errors import BertQAError, ConfigError, RepositoryBusyError, RepositoryError
from bertqa_build.publish import Artefacts, publish
from bertqa_deploy.config_file import SplitModel
from bertqa_deploy.errors import StorageError, VersionExistsError
from bertqa_deploy.storage.directory import Directory
from bertqa_deploy.storage.version import VersionFiles
from tools.interleave_checks import SPLITS, TWIN, Done, faults

PROCESSES = 3
OPERATIONS = 2
SECONDS = 60
CHANGES = frozenset(
    ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "fcntl.flock", "os.fsync")
)


@dataclass(frozen=True)
class Files:
    """What all cases share: a version's files, and a repository that versions are copied from."""

    artefacts: Artefacts
    source: Repository

    @classmethod
    def make(cls, folder: Path) -> Files:
        """Return them after they were written to a folder; the source has four versions."""
        for name in ("model.xml", "model.bin", "model.onnx"):
            (folder / name).write_bytes(name.encode() * 50)
        artefacts = Artefacts(folder / "model.xml", folder / "model.onnx")
        source = Repository(folder / "source")
        for number in range(1, 5):
            publish(source, artefacts, manifest(f"source {number}"))
        return cls(artefacts, source)


def manifest(source: str) -> VersionManifest:
    """Return a manifest that its source distinguishes from others."""
    return VersionManifest(MODEL_NAME, 0, "INT8", "", source, "", {})


class Process:
    """The operations of one process, each of which reports what it did."""

    def __init__(self, files: Files, root: Path, rng: random.Random, name: str) -> None:
        self.files = files
        self.repository = Repository(root)
        self.rng = rng
        self.name = name
        self.mortal = True

    def run(self) -> Iterator[Done]:
        """Carry out some operations.

        Yields:
            Each of them that has done something.
        """
        kinds: list[Callable[[], Done | None]] = [
            *(self._build, self._build, self._copy, self._copy),
            *(self._complete, self._switch, self._switch, self._delete),
        ]
        for operation in range(OPERATIONS):
            self.label = f"{self.name}-{operation}"
            done = self.rng.choice(kinds)()
            if done is not None:
                yield done

    def _build(self) -> Done:
        """Publish a new version, as `bert-qa build` does."""
        number = publish(self.repository, self.files.artefacts, manifest(self.label))
        return Done("build", number, self.label)

    def _copy(self) -> Done | None:
        """As `bert-qa publish --to`; another version of that number is refused."""
        number = self.rng.randint(1, 4)
        parts = [VersionFiles.of(self.files.source, number, model) for model in (TWIN, MODEL_NAME)]
        try:
            Directory(self.repository.root).take(parts, lambda _: None)
        except (VersionExistsError, StorageError):
            return None  # Another version is there, or this one was deleted while it was compared.
        except RepositoryError as error:
            if "was used for another version" in str(error):
                return None
            raise
        return Done("copy", number, f"source {number}")

    def _complete(self) -> Done | None:
        """As `bert-qa serve` before it starts."""
        logged: list[str] = []
        cores = self.rng.choice((2, 8))
        try:
            complete_config(self.repository, MODEL_NAME, cores, log=logged.append)
        except RepositoryError as error:
            if "has no version of" in str(error):
                return None
            raise
        return None if logged else Done("complete", cores)

    def _switch(self) -> Done | None:
        """As `bert-qa switch`: edit the configuration, publish a split, write the split's file."""
        split = {1: float(self.rng.randint(1, 99))}
        split[2] = 100 - split[1]
        model = SplitModel(self.repository, MODEL_NAME)
        try:
            with RepositoryWriter(self.repository, wait_seconds=self.rng.choice((0, 30))) as writer:
                config = OvmsConfig.read(self.repository.config_path)
                edited = config.edited({"name": self.label, "base_path": self.label})
                writer.replace_config(config, edited.new_text)
                model.publish(split, writer)
                number = self.repository.versions(SPLITS)[-1]
                model.write_file(split, writer)
        except (RepositoryBusyError, ConfigError):
            return None
        return Done("switch", number, self.label)

    def _delete(self) -> Done | None:
        """As a person does: no lock, and both formats of a version one after the other.

        No kill comes between the two, which would leave a half that no writer has made.
        """
        versions = self.repository.versions()
        if not versions:
            return None
        version = self.rng.choice(versions)
        self.mortal = False
        rubbish = Path(tempfile.mkdtemp(dir=self.repository.root.parent))
        for model in (MODEL_NAME, TWIN):
            try:
                self.repository.version_dir(version, model).rename(rubbish / f"{model}.{version}")
            except FileNotFoundError:
                continue
        self.mortal = True
        return Done("delete", version)


def _act(process: Process, kill_at: int, pipe: int) -> None:
    """Run a process's operations, and die at the `kill_at`th change of a file (0: never)."""
    count = 0
    luck = random.Random()

    def change(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in CHANGES:
            return
        count += 1
        if 0 < kill_at <= count and process.mortal:
            os.kill(os.getpid(), signal.SIGKILL)
        if luck.random() < 0.05:
            time.sleep(luck.random() * 0.001)

    sys.addaudithook(change)
    # No power fails here; what a loss of power leaves is not what this looks for.
    os.fsync = lambda fd: change("os.fsync", (fd,))
    signal.alarm(SECONDS)
    for done in process.run():
        os.write(pipe, (json.dumps([done.kind, done.number, done.text]) + "\n").encode())


def _in_child(work: Callable[[], None]) -> int:
    """Fork, do something there, and return the child's process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def run_case(files: Files, folder: Path, seed: int) -> str:
    """Run one case.

    Args:
        files: What all cases share.
        folder: An empty directory.
        seed: What the case is drawn from.

    Returns:
        What is wrong with the repository; empty where nothing is.
    """
    rng = random.Random(seed)
    root = folder / "repository"
    root.mkdir()
    root.chmod(0o755)
    _prepare(files, root, rng)
    mask = os.umask(rng.choice((0o022, 0o077)))
    reading, writing = os.pipe()
    children = []
    for index in range(PROCESSES):
        process = Process(files, root, random.Random(rng.random()), f"{seed}-{index}")
        kill_at = rng.randint(1, 120) if rng.random() < 0.6 else 0
        children.append(_in_child(partial(_act, process, kill_at, writing)))
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        done = [Done(*json.loads(line)) for line in lines]
    os.umask(mask)
    if any(end not in (0, -signal.SIGKILL) for end in ends):
        return f"a process ended with {ends}"
    with RepositoryWriter(Repository(root)):
        pass
    return "; ".join(faults(Repository(root), done, folder))


def _prepare(files: Files, root: Path, rng: random.Random) -> None:
    """Begin with an empty repository, a published version, or a copy made by hand."""
    match rng.randint(0, 3):
        case 1:
            publish(Repository(root), files.artefacts, manifest("first"))
        case 2:
            for model in (MODEL_NAME, TWIN):
                shutil.copytree(files.source.root / model / "1", root / model / "3")
        case 3:
            shutil.copytree(files.source.root / TWIN / "2", root / TWIN / "6")


def run_cases(seeds: range) -> list[str]:
    """Run cases one after the other, each in a directory of its own.

    Args:
        seeds: The cases' seeds.

    Returns:
        A sentence for each that failed.
    """
    # The default looks for a free lock every 50 ms, which would be most of a case's time.
    setattr(lock_module, "FileLock", partial(FileLock, poll_interval=0.001))  # noqa: B010
    memory = Path("/dev/shm")
    failed = []
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        files = Files.make(Path(folder))
        for seed in seeds:
            case = Path(folder) / f"case-{seed}"
            case.mkdir()
            try:
                wrong = run_case(files, case, seed)
            except (BertQAError, OSError) as error:
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                failed.append(f"seed {seed}: {wrong}")
            shutil.rmtree(case)
    return failed


def main() -> int:
    """Run the cases that the command line asks for, and return 1 where one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=10_000, help="how many cases")
    parser.add_argument("--seed", type=int, default=0, help="the first case's seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at once")
    options = parser.parse_args()
    begun = time.monotonic()
    seeds = range(options.seed, options.seed + options.count)
    step = max(1, min(250, -(-options.count // options.jobs)))
    chunks = [seeds[first : first + step] for first in range(0, len(seeds), step)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        failed = [sentence for each in pool.map(run_cases, chunks) for sentence in each]
    for sentence in failed:
        print(sentence)
    seconds = time.monotonic() - begun
    print(f"{options.count} interleavings in {seconds:.0f} s, {len(failed)} failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
