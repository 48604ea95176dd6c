"""Several servers behind one name: real processes, one of which hangs or ends."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from bertqa import QAClient, QATokenizer, _defaults
from bertqa.errors import (
    BertQAError,
    ClientStateError,
    DeadlineExceededError,
    ModelNotFoundError,
    ModelNotReadyError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport import InferResult, Inputs, ModelMetadata
from bertqa.transport._address import Address
from bertqa.transport._resolution import may_have_several
from bertqa.transport._sync.balanced import BalancedTransport
from tests.support.engines import Served, toy_server
from tests.support.models import tokenizer_json
from tests.support.ports import free_pair
from tests.support.relay import Place, relay
from tests.support.twins import Twins

NAME = "bert-qa.test"
HOSTS = ("127.0.0.1", "127.0.0.2")
TOKENIZER = QATokenizer.from_json(tokenizer_json())
QUESTION = "Who gave their name to Normandy?"
CONTEXT = "The Normans were the people who gave their name to Normandy, a region of France."


# `dns:///` is another spelling of a name that `grpc://` has too.
schemes = pytest.mark.parametrize(
    "scheme", ["grpc", "http", pytest.param("dns", marks=pytest.mark.thorough)]
)


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name that resolves to the addresses in the list; probes that do not take long."""
    hosts = list(HOSTS)
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != NAME:
            return resolve(host, port, *arguments, **options)
        return [found for each in hosts for found in resolve(each, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(_defaults, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(_defaults, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(_defaults, "EJECTION_SECONDS", 0.1)
    monkeypatch.setattr(_defaults, "EJECTION_LIMIT_SECONDS", 0.2)
    return hosts


@contextmanager
def hanging_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the name be looked up in vain until the block ends."""
    answers = threading.Event()
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == NAME:
            answers.wait()
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        yield
    finally:
        answers.set()


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two servers, and the ports that they have at each address of the name."""

    servers: tuple[Served, Served]
    ports: tuple[int, int]

    def url(self, scheme: str) -> str:
        port = self.ports[1] if scheme == "http" else self.ports[0]
        return f"{scheme}:///{NAME}:{port}" if scheme == "dns" else f"{scheme}://{NAME}:{port}"


def place(server: Served, scheme: str) -> Callable[[], Place]:
    """Where the server of a scheme is now."""
    return lambda: ("127.0.0.1", server.port(scheme))


@pytest.fixture(scope="module")
def started(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Version 1 behind the first address, version 2 behind the second: an answer names its server.

    OVMS takes a port at all addresses of a machine, so that relays stand at those of the name.
    """
    ports = free_pair()
    with ExitStack() as stack:
        servers = []
        for version, host in enumerate(HOSTS, 1):
            repository = tmp_path_factory.mktemp("repository")
            server = toy_server(engine, repository, version, own_process=True)
            servers.append(stack.enter_context(server))
            for port, scheme in zip(ports, ("grpc", "http"), strict=True):
                stack.enter_context(relay((host, port), place(server, scheme)))
        first, second = servers
        yield Fleet((first, second), ports)


@pytest.fixture
def fleet(started: Fleet) -> Fleet:
    """The fleet, where what an earlier test killed runs again."""
    for server in started.servers:
        if not server.is_running:
            server.move()
            server.start()
    return started


def versions(client: Any, count: int) -> list[int]:
    return [client.answer(QUESTION, CONTEXT).model_version for _ in range(count)]


@schemes
def test_a_server_that_hangs_is_left_and_used_again(
    open_client: Twins, fleet: Fleet, name: list[str], scheme: str
) -> None:
    client = open_client(fleet.url(scheme), timeout=60)
    before = versions(client, 6)
    assert set(before) == ({1, 2} if scheme == "dns" else {1})
    fleet.servers[0].send(signal.SIGSTOP)
    try:
        assert versions(client, 20)[1:] == [2] * 19
    finally:
        fleet.servers[0].send(signal.SIGCONT)
    while 1 not in versions(client, 5):
        pass


@schemes
def test_a_server_that_ended_is_left_at_once(
    open_client: Twins, fleet: Fleet, name: list[str], scheme: str
) -> None:
    client = open_client(fleet.url(scheme), timeout=60)
    versions(client, 4)
    fleet.servers[0].kill()
    assert versions(client, 20) == [2] * 20
    fleet.servers[0].move()
    fleet.servers[0].start()
    while 1 not in versions(client, 5):
        pass


@schemes
def test_a_server_that_hangs_is_left_by_calls_too_short_to_be_repeated(
    open_client: Twins,
    fleet: Fleet,
    name: list[str],
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_defaults, "EJECTION_LIMIT_SECONDS", 60.0)
    client = open_client(fleet.url(scheme), timeout=60)
    versions(client, 4)
    fleet.servers[0].send(signal.SIGSTOP)
    try:
        found = set()
        while True:
            try:
                found = {client.answer(QUESTION, CONTEXT, timeout=0.4).model_version}
            except DeadlineExceededError:
                found = set()
            if found == {2} and versions(client, 1) == [2]:
                break
        assert versions(client, 8) == [2] * 8
    finally:
        fleet.servers[0].send(signal.SIGCONT)


@schemes
def test_a_name_that_needs_no_proxy_needs_none_at_its_addresses(
    open_client: Twins,
    fleet: Fleet,
    name: list[str],
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Loopback addresses need none either, but that is not what is looked at here.
    monkeypatch.setattr("bertqa.transport._http.leads_to_loopback", lambda host: False)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, NAME)
    assert set(versions(open_client(fleet.url(scheme), timeout=10), 4)) <= {1, 2}


@pytest.mark.parametrize("scheme", ["dns", "http"])
def test_a_name_is_resolved_again(
    open_client: Twins,
    fleet: Fleet,
    name: list[str],
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_defaults, "RESOLVE_SECONDS", 0.0)
    client = open_client(fleet.url(scheme), timeout=60)
    versions(client, 4)
    name[:] = [HOSTS[1], "127.0.0.3"]
    while 1 in versions(client, 5):
        pass
    assert set(versions(client, 5)) == {2}


@schemes
def test_the_first_call_after_a_rest_meets_servers_at_their_new_addresses(
    open_client: Twins,
    fleet: Fleet,
    name: list[str],
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = open_client(fleet.url(scheme), timeout=60)
    versions(client, 4)
    monkeypatch.setattr(_defaults, "RESOLVE_AFTER_REST_SECONDS", 0.0)
    name[:] = [HOSTS[1], "127.0.0.3"]
    assert versions(client, 4) == [2] * 4


@schemes
def test_a_name_server_that_hangs_after_a_rest_leaves_the_addresses_as_they_were(
    open_client: Twins, fleet: Fleet, name: list[str], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(fleet.url(scheme), timeout=60)
    versions(client, 4)
    monkeypatch.setattr(_defaults, "RESOLVE_AFTER_REST_SECONDS", 0.0)
    monkeypatch.setattr(_defaults, "RESOLVE_PATIENCE_SECONDS", 0.1)
    with hanging_name_server(monkeypatch):
        assert set(versions(client, 2)) <= {1, 2}


@schemes
def test_a_call_that_waits_for_servers_meets_them_at_their_new_addresses(
    open_client: Twins, fleet: Fleet, name: list[str], scheme: str
) -> None:
    port = fleet.ports[1] if scheme == "http" else fleet.ports[0]
    old, new = (place(each, scheme) for each in fleet.servers)
    with (
        relay(("127.0.0.3", port), old),
        relay(("127.0.0.4", port), old),
        relay(("127.0.0.6", port), new),
    ):
        name[:] = ["127.0.0.3", "127.0.0.4"]
        client = open_client(fleet.url(scheme), tokenizer=TOKENIZER, timeout=60)
        assert versions(client, 4) == [1] * 4
        fleet.servers[0].kill()
        name[:] = ["127.0.0.5", "127.0.0.6"]
        assert versions(client, 1) == [2]


@schemes
def test_the_only_server_that_has_a_version_is_waited_for(
    fleet: Fleet, name: list[str], scheme: str
) -> None:
    first = fleet.servers[0]
    with (
        ThreadPoolExecutor() as pool,
        QAClient(fleet.url(scheme), tokenizer=TOKENIZER, version=1, timeout=60) as client,
    ):
        client.answer(QUESTION, CONTEXT)
        first.kill()
        first.move()
        waiting = [pool.submit(client.answer, QUESTION, CONTEXT) for _ in range(4)]
        first.start()
        assert [each.result().model_version for each in waiting] == [1] * 4


class Failing:
    """A server that fails always in the same way."""

    def __init__(self, error: BertQAError) -> None:
        self._error = error

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        raise self._error

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        raise self._error

    def is_live(self, timeout: float) -> bool:
        return True

    def renew(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.unit
@pytest.mark.parametrize(
    ("one", "other", "raised"),
    [
        (VersionNotFoundError, ModelNotReadyError, ModelNotReadyError),
        (VersionNotFoundError, ModelNotFoundError, ModelNotFoundError),
        (ModelNotFoundError, ModelNotReadyError, ModelNotReadyError),
        (VersionNotFoundError, ServerUnreachableError, VersionNotFoundError),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_what_servers_say_that_is_raised_which_may_change_soonest(
    name: list[str],
    one: type[BertQAError],
    other: type[BertQAError],
    raised: type[BertQAError],
    turned: bool,
) -> None:
    found = dict(zip(HOSTS, (other, one) if turned else (one, other), strict=True))
    address = Address.parse(f"grpc://{NAME}:9000")
    transport = BalancedTransport(
        address,
        Failing(BertQAError("The name has two addresses.")),
        lambda at: Failing(found[at.host]("It says so.")),
    )
    with pytest.raises(raised):
        transport.infer({}, version=1, timeout=5)


@schemes
def test_closing_ends_a_call_that_waits_for_servers(
    fleet: Fleet, name: list[str], scheme: str
) -> None:
    client = QAClient(fleet.url(scheme), timeout=60)
    versions(client, 4)
    for server in fleet.servers:
        server.kill()
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(client.answer, QUESTION, CONTEXT) for _ in range(4)]
        client.close()
        for each in waiting:
            assert isinstance(each.exception(), ClientStateError)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("url", "several"),
    [
        ("dns:///bert-qa.ml:9000", True),
        ("http://bert-qa.ml:8000", True),
        ("grpc://bert-qa.ml:9000", True),
        ("localhost:9000", False),
        ("dns:///localhost:9000", False),
        ("10.0.0.1:9000", False),
        ("http://[::1]:8000", False),
    ],
)
def test_a_name_alone_may_have_several_servers(
    url: str, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    assert may_have_several(Address.parse(url)) == several
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    assert not may_have_several(Address.parse(url))
    monkeypatch.setenv("no_proxy", ".ml")
    assert may_have_several(Address.parse(url)) == several


def test_a_client_of_a_name_that_does_not_resolve_says_so() -> None:
    with (
        QAClient(f"http://{NAME}.invalid:8000", timeout=2) as client,
        pytest.raises(ServerUnreachableError, match="Cannot connect to"),
    ):
        client.answer(QUESTION, CONTEXT)


@schemes
def test_a_name_server_that_hangs_meets_the_deadline(
    open_client: Twins, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slashes = ":///" if scheme == "dns" else "://"
    client = open_client(f"{scheme}{slashes}{NAME}:9000", tokenizer=TOKENIZER, timeout=0.5)
    with (
        hanging_name_server(monkeypatch),
        pytest.raises(DeadlineExceededError, match="was not resolved in time"),
    ):
        client.answer(QUESTION, CONTEXT)
