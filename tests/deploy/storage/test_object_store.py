"""What only a store can do wrong: seen through a proxy that stops, cuts or falsifies requests."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository
from bertqa_deploy.errors import StorageError, VersionExistsError
from bertqa_deploy.server import Server
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.publishing import Published, publish
from bertqa_serve.engine import LocalServer
from tests.support.models import write_config, write_manifest
from tests.support.ports import free_port
from tests.support.stores import CutError, Proxy, Request, Store, Stores, only

IR = ["manifest.json", "model.bin", "model.xml"]
ALL = ["manifest.json", "model.onnx", *IR]  # The twin goes first.


@pytest.fixture
def proxy(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before `store`, to which the environment leads."""
    proxy = Proxy(store.endpoint)
    with proxy.running() as url:
        store.use(monkeypatch, url)
        yield proxy


def send(repository: Repository, store: Store) -> Published:
    return publish(repository, 2, Address.parse(store.url))


def enlarge(repository: Repository) -> int:
    """Write version 2 with weights that take several parts; return their size in bytes."""
    weights = repository.version_dir(2) / "model.bin"
    weights.write_bytes(os.urandom(20 * 2**20))
    write_manifest(weights.parent)
    return weights.stat().st_size


def test_no_server_ever_finds_a_model_that_lacks_something(
    published: Repository, store: Store, proxy: Proxy, tmp_path: Path
) -> None:
    """A server that polls at every moment: it serves version 1 until version 2 is whole."""
    mirror = tmp_path / "as_the_server_has_it"
    publish(published, 1, Address.parse(str(mirror)))
    seen: list[tuple[str, str]] = []

    with LocalServer(write_config(mirror), poll_seconds=0) as engine:
        server = Server(f"http://127.0.0.1:{engine.rest_port}", patience=60)

        def look(request: Request) -> None:
            if not request.writes:
                return
            objects = {p: c for p, c in store.contents().items() if p.startswith("bert-qa/")}
            for path, content in objects.items():
                (mirror / path).parent.mkdir(exist_ok=True)
                (mirror / path).write_bytes(content)
            httpx.post(f"{server.address}/v1/config/reload", timeout=60)
            states = server.states("bert-qa")
            assert states[1].state == "AVAILABLE"
            seen.append((request.file, states[2].state if 2 in states else "absent"))

        proxy.before = look
        send(published, store)
        look(Request("PUT", "/the end", b""))

    assert seen == [
        ("manifest.json", "absent"),
        ("model.onnx", "absent"),
        ("manifest.json", "absent"),
        ("model.bin", "LOADING"),
        ("model.xml", "LOADING"),
        ("the end", "AVAILABLE"),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("held", ["model.bin", "model.xml"])
def test_a_publish_that_is_killed_is_taken_up_by_the_same_command(
    published: Repository, store: Store, proxy: Proxy, held: str
) -> None:
    reached, killed = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.writes and request.file == held:
            reached.set()
            killed.wait(240)
            raise CutError

    proxy.before = hold
    command = (sys.executable, "-m", "bertqa_cli.main", "publish", "2", "--to", store.url)
    process = subprocess.Popen(
        [*command, "--repository", str(published.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    assert reached.wait(240)
    process.kill()
    process.wait()
    killed.set()
    there = {path for path in store.contents() if path.startswith("bert-qa/")}
    assert there == {f"bert-qa/2/{name}" for name in IR[: IR.index(held)]}

    proxy.before, proxy.requests = lambda _: None, []
    send(published, store)

    assert proxy.written() == IR[IR.index(held) :]
    assert store.contents().keys() == {
        *(f"bert-qa/2/{name}" for name in IR),
        *(f"bert-qa-onnx/2/{name}" for name in ALL[:2]),
    }


def test_what_arrives_damaged_is_taken_away_and_sent_again(
    published: Repository, store: Store, proxy: Proxy
) -> None:
    def falsify(request: Request, content: bytes) -> bytes:
        read = request.method == "GET" and request.path.endswith("/model.bin")
        return content[:-1] + b"?" if read and len(content) > 200_000 else content

    proxy.after = falsify
    if store.scheme == "s3":  # Its library checks what it reads, and leaves no doubt to settle.
        with pytest.raises(StorageError, match="Expected checksum"):
            send(published, store)
        return
    with pytest.raises(StorageError, match=r"bert-qa/2/model\.bin did not arrive as it was sent"):
        send(published, store)
    assert {path for path in store.contents() if "onnx" not in path} == {"bert-qa/2/manifest.json"}

    proxy.after = lambda _, content: content
    send(published, store)
    assert "bert-qa/2/model.xml" in store.contents()


def test_two_who_publish_the_same_number_do_not_mix(
    published: Repository, store: Store, proxy: Proxy
) -> None:
    def overtake(request: Request) -> None:
        if request.writes and request.file == "model.bin":
            store.write("bert-qa/2/model.bin", b"another's")

    proxy.before = overtake
    with pytest.raises(VersionExistsError, match=r"bert-qa/2/model\.bin is there already"):
        send(published, store)
    objects = store.contents()
    assert objects["bert-qa/2/model.bin"] == b"another's"
    assert "bert-qa/2/model.xml" not in objects


def test_a_large_file_is_sent_in_parts_whose_bytes_are_reported(
    repository: Repository, store: Store, proxy: Proxy
) -> None:
    size = enlarge(repository)
    seen: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.stage == "Sending bert-qa/2/model.bin":
            assert (progress.total, progress.unit) == (size, "bytes")
            seen.append(progress.done)

    publish(repository, 2, Address.parse(store.url), on_progress=on_progress)

    assert seen == sorted(seen)
    assert seen[-1] == size
    assert any(0 < done < size for done in seen)
    # Google's parts go to an address of the upload's own, past the proxy.
    assert all(len(request.content) < 9 * 2**20 for request in proxy.requests)
    assert len(store.contents()["bert-qa/2/model.bin"]) == size


@pytest.mark.parametrize("store", ["az", "s3"], indirect=True)
def test_a_large_file_does_not_overwrite_another_that_appears_between_its_parts(
    repository: Repository, store: Store, proxy: Proxy
) -> None:
    enlarge(repository)

    def overtake(request: Request, content: bytes) -> bytes:
        if request.writes and request.file == "model.bin":
            store.write("bert-qa/2/model.bin", b"another's")
        return content

    proxy.after = overtake
    with pytest.raises(VersionExistsError, match=r"bert-qa/2/model\.bin is there already"):
        send(repository, store)
    assert store.contents()["bert-qa/2/model.bin"] == b"another's"
    assert "bert-qa/2/model.xml" not in store.contents()


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_a_large_file_is_sent_to_google_on_the_condition_that_there_is_none(
    repository: Repository, store: Store, proxy: Proxy
) -> None:
    """The emulator ignores the condition of an upload in parts."""
    enlarge(repository)
    send(repository, store)
    (begun,) = (each for each in proxy.requests if each.writes and each.file == "model.bin")
    assert begun.query["uploadType"] == "resumable"
    assert begun.query["ifGenerationMatch"] == "0"


@pytest.mark.parametrize("status", [401, 403])
def test_a_store_that_denies_access_is_named(
    published: Repository, store: Store, proxy: Proxy, status: int
) -> None:
    proxy.before = lambda _: status
    with pytest.raises(StorageError, match=f"Access to {store.url} was denied"):
        send(published, store)


def test_credentials_that_may_only_read_are_reported(
    published: Repository, store: Store, proxy: Proxy
) -> None:
    proxy.before = lambda request: 403 if request.writes else None
    with pytest.raises(StorageError, match=f"Access to {store.url} was denied"):
        send(published, store)
    assert store.contents() == {}


def test_a_container_that_is_not_there_is_named(published: Repository, store: Store) -> None:
    url = f"{store.scheme}://no-such-container/qa"
    with pytest.raises(StorageError, match=r"There is no (container|bucket) 'no-such-container'"):
        publish(published, 2, Address.parse(url))


def test_a_store_that_is_away_is_said_to_be(
    published: Repository, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.use(monkeypatch, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError, match=f"Cannot connect to {store.url}"):
        publish(published, 2, Address.parse(store.url), answer_seconds=0.5)


@pytest.mark.parametrize(
    ("url", "environment", "hint"),
    [
        ("az://models", {}, "AZURE_STORAGE_CONNECTION_STRING"),
        (
            "az://models",
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "account",
                "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
            },
            "az login",
        ),
        (
            "s3://models",
            {
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            },
            "AWS_ACCESS_KEY_ID",
        ),
        (
            "gs://models",
            {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such/key.json"},
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
    ],
)
def test_missing_credentials_are_named(
    published: Repository,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    environment: dict[str, str],
    hint: str,
) -> None:
    only(monkeypatch, environment)
    with pytest.raises(StorageError, match=f"There are no credentials for {url}: set .*{hint}"):
        publish(published, 2, Address.parse(url))


def test_what_is_wrong_in_the_environment_is_passed_on(
    published: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, {"AZURE_STORAGE_CONNECTION_STRING": "nonsense"})
    with pytest.raises(StorageError, match=r"cannot be used: .*Connection string is either blank"):
        publish(published, 2, Address.parse("az://models"))


def test_after_a_lost_answer_the_file_counts_as_sent(
    published: Repository, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has the object, the client asks again, and the store replies that it is there."""
    store = stores.store("s3")
    lost: list[str] = []

    def lose(request: Request, content: bytes) -> bytes:
        if request.writes and request.file not in lost:
            lost.append(request.file)
            raise CutError
        return content

    proxy = Proxy(store.endpoint)
    proxy.after = lose
    with proxy.running() as url:
        store.use(monkeypatch, url)
        send(published, store)

    assert lost == list(dict.fromkeys(ALL))
    assert len(store.contents()) == len(ALL)
