"""The Hugging Face hub as a registry: one commit for each version."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from tqdm import tqdm

from bertqa._hub import refusal
from bertqa._progress import OnProgress, Progress, ignore
from bertqa._quiet import muted
from bertqa.errors import InvalidOptionError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.registries.package import Package, PackageFile
from bertqa_deploy.registries.places import PLACES
from bertqa_deploy.registries.registry import Fetched, Pushed
from bertqa_deploy.storage.address import Address

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ENDPOINT = "HF_ENDPOINT"
_CREDENTIALS = "set HF_TOKEN, or sign in with `hf auth login`"
_BY_DIRECTORY = (
    "Where there is no network, use a directory: `bert-qa publish --to DIRECTORY --layout hub`, "
    "and there `bert-qa pull DIRECTORY`."
)


class HubRegistry:
    """Models of the hub that HF_ENDPOINT names, by default huggingface.co; see `Registry`."""

    def push(
        self, address: Address, package: Package, on_progress: OnProgress, *, public: bool
    ) -> Pushed:
        """Send what the hub lacks, and let it appear in one commit; see `Registry.push`."""
        if _COMMIT.fullmatch(address.revision):
            raise InvalidOptionError(
                f"{address} names a commit, which never changes: name a branch, or none."
            )
        with _explained(address), _quiet():
            api = _api()
            api.create_repo(address.path, private=not public, exist_ok=True)
            branch = _branch(address)
            if address.revision:
                api.create_branch(address.path, branch=branch, exist_ok=True)
            head = api.model_info(address.path, revision=branch)
            there = _digests(api, address.path, package, str(head.sha))
            changed = [file for file in package.files if not _is_there(file, there)]
            gone = sorted(there.keys() - {file.path for file in package.files})
            if changed or gone:
                commit = _commit(api, address, package, changed, gone, head.sha, on_progress)
                _require_arrived(api, address, package, commit)
        visible = "private: only its owners see it" if head.private else "public"
        note = f"Each has the digest there that it has here. The model is {visible}."
        return Pushed(
            f"{api.endpoint}/{address.path}/tree/{branch}", [file.path for file in changed], note
        )

    @contextmanager
    def fetch(self, address: Address, on_progress: OnProgress) -> Iterator[Fetched]:
        """Yield a package whose files are kept in the hub's cache; see `Registry.fetch`."""
        with _explained(address), _quiet():
            api = _api()
            info = api.model_info(address.path, revision=address.revision or None)
            paths = [sibling.rfilename for sibling in info.siblings or ()]

        def fetch(path: str, again: bool) -> Path:
            with _explained(address), _quiet():
                found = api.hf_hub_download(
                    address.path,
                    path,
                    revision=info.sha,
                    force_download=again,
                    tqdm_class=_reporting(f"Receiving {path}", on_progress),
                )
            return Path(found)

        yield Fetched(f"hf://{address.path}@{info.sha}", paths, fetch)


def _api() -> HfApi:
    # The library reads the variable when it is imported.
    return HfApi(endpoint=os.environ.get(_ENDPOINT) or None, library_name="bertqa")


def _branch(address: Address) -> str:
    return address.revision or constants.DEFAULT_REVISION


def _commit(
    api: HfApi,
    address: Address,
    package: Package,
    changed: list[PackageFile],
    gone: list[str],
    parent: str | None,
    on_progress: OnProgress,
) -> str:
    with ExitStack() as opened:
        operations: list[Any] = [CommitOperationDelete(path) for path in gone]
        for file in changed:
            content = opened.enter_context(_Reader(file))
            operations.append(CommitOperationAdd(file.path, content))
            content.on_progress = on_progress
            api.preupload_lfs_files(address.path, operations[-1:], revision=_branch(address))
        commit = api.create_commit(
            address.path,
            operations,
            commit_message=f"Publish version {package.version} of {package.name}",
            revision=_branch(address),
            parent_commit=parent,
        )
    return commit.oid


class _Reader(io.BufferedReader):
    """A file that reports how far it is sent.

    The library sends a file that is open by HTTP alone, which every hub understands.
    """

    def __init__(self, file: PackageFile) -> None:
        # A buffered file reads ahead of it as well.
        super().__init__(file.open())  # type: ignore[arg-type]
        self.on_progress: OnProgress = ignore
        self._report = Progress(f"Sending {file.path}", 0, file.size, "bytes")

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; see `io.BufferedReader.read`."""
        found = super().read(size)
        self.on_progress(replace(self._report, done=self.tell()))
        return found


def _digests(api: HfApi, repo: str, package: Package, revision: str) -> dict[str, str]:
    """Return the digests of the files of a package, also of former ones, that a commit has."""
    paths = {file.path for file in package.files}
    paths |= {path for places in PLACES.values() for path in places.values()}
    found = api.get_paths_info(repo, sorted(paths), revision=revision)
    return {
        each.path: each.lfs.sha256 if each.lfs else each.blob_id
        for each in found
        if isinstance(each, RepoFile)
    }


def _is_there(file: PackageFile, there: Mapping[str, str]) -> bool:
    """Return whether the hub has a file; it knows those that it keeps as texts by git's digest."""
    digest = there.get(file.path)
    if digest is None or len(digest) == len(file.sha256):
        return digest == file.sha256
    with file.open() as opened:
        content = opened.read()
    blob = b"blob %d\0" % file.size + content
    return digest == hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def _require_arrived(api: HfApi, address: Address, package: Package, commit: str) -> None:
    there = _digests(api, address.path, package, commit)
    for file in package.files:
        if not _is_there(file, there):
            raise StorageError(
                f"{address} has another {file.path} than the one that was sent, in commit "
                f"{commit}. Run the same command again to send it anew."
            )


def _reporting(stage: str, on_progress: OnProgress) -> Any:
    """Return a bar for the hub's library that reports, and draws nothing."""

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *_: Any, **options: Any) -> None:
            self.received = options.get("initial") or 0
            self.size = options.get("total")
            super().__init__(disable=True)

        def update(self, n: float | None = 1) -> bool | None:
            self.received += int(n or 0)
            on_progress(Progress(stage, self.received, self.size, "bytes"))
            return None

    return Reporting


@contextmanager
def _quiet() -> Iterator[None]:
    had_bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        with muted("huggingface_hub"):
            yield
    finally:
        if had_bars:
            enable_progress_bars()


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # An upload raises a RuntimeError, whose cause says why.
        cause = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        message = _sentence(address, cause)
        if message is None:
            raise
        detail = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise StorageError(message, detail=detail) from error


def _sentence(address: Address, error: BaseException) -> str | None:
    endpoint = os.environ.get(_ENDPOINT) or constants.ENDPOINT
    model = f"hf://{address.path}"
    match error:
        case RevisionNotFoundError():
            return f"{model} has no revision {_branch(address)!r}."
        case LocalEntryNotFoundError() | OfflineModeIsEnabled() | httpx.TransportError():
            return f"Cannot connect to the Hugging Face hub at {endpoint}. {_BY_DIRECTORY}"
        case EntryNotFoundError():
            return f"{address} lacks a file that its list names. Run the same command again."
        case GatedRepoError() | DisabledRepoError():
            return f"{model} cannot be read: {refusal(error)}."
        case RepositoryNotFoundError():
            return (
                f"There is no {model}, or it is private and the credentials do not open it: "
                f"{_CREDENTIALS}."
            )
        case HFValidationError():
            return f"{model} is not a name that the Hugging Face hub takes."
        case HfHubHTTPError():
            return _refused(address, error.response.status_code, endpoint)
        case ValueError() | KeyError() | TypeError():
            return f"What answers at {endpoint} does not speak the Hugging Face hub's API."
    return None


def _refused(address: Address, status: int, endpoint: str) -> str:
    match status:
        case 401:
            return f"The credentials for {address} are missing or wrong: {_CREDENTIALS}."
        case 403:
            return (
                f"Access to {address} was denied: the token may not write there, or not make a "
                "model of that name."
            )
        case 412:
            return (
                f"{address} was changed by another push meanwhile. Nothing was committed. Run "
                "the same command again."
            )
    return (
        f"The Hugging Face hub at {endpoint} refused {address} with status {status}. Nothing was "
        "changed. Run the same command again to resume."
    )
