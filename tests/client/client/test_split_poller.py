from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa import AsyncQAClient, QAClient, _defaults
from bertqa.artifact import Repository, RepositoryWriter, format_split, parse_split
from bertqa.client._split_poller import SplitPoller
from bertqa.errors import (
    ClientStateError,
    InvalidOptionError,
    ModelNotFoundError,
    ServerUnreachableError,
)
from bertqa_deploy.config_file import SplitModel
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.models import write_config, write_toy_version
from tests.support.rest_gate import rest_gate
from tests.support.twins import Twins

PAIR = ("When?", "It was in 1932.")
REPORTS = "/v2/models/bert-qa-traffic"


def replace(path: Path, text: str) -> None:
    """Replace a file at once: it is read in the background, also while it is written."""
    written = path.with_name(f"{path.name}.new")
    written.write_text(text, encoding="utf-8")
    written.replace(path)


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("1=90,2=10", {1: 90.0, 2: 10.0}),
        (" 2 = 100 %\n", {2: 100.0}),
        ("1=33.4,2=33.3,3=33.3", {1: 33.4, 2: 33.3, 3: 33.3}),
    ],
)
def test_a_split_is_versions_and_percents(text: str, split: dict[int, float]) -> None:
    assert parse_split(text) == split
    assert parse_split(format_split(split)) == split


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1=90,2=20", "sums to 110, but it has to be 100"),
        ("1=50,1=50", "names version 1 twice"),
        ("0=100", "cannot be read"),
        ("1:100", "cannot be read"),
        ("1=-5,2=105", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_wrong_split_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(InvalidOptionError, match=complaint):
        parse_split(text)


def test_a_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_defaults, "FOLLOW_SECONDS", 0.0)
    path = tmp_path / "split"
    path.write_text("1=100\n", encoding="utf-8")
    transport = InProcessTransport(dict.fromkeys((1, 2), InProcessTransport().versions[1]))
    with QAClient(transport=transport, traffic=path) as client:
        assert client.answer(*PAIR).model_version == 1
        replace(path, "2=100\n")
        assert client.answer(*PAIR).model_version == 2


def test_the_last_known_split_outlives_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_defaults, "FOLLOW_SECONDS", 0.0)
    # Where a read takes long, as on a busy machine, the next one waits: here none does.
    monkeypatch.setattr("bertqa.client._split_poller._POSTPONEMENT", 0)
    path = tmp_path / "split"
    path.write_text("1=100", encoding="utf-8")
    transport = InProcessTransport(dict.fromkeys((1, 2), InProcessTransport().versions[1]))
    with QAClient(transport=transport, traffic=path) as client:
        client.answer(*PAIR)
        path.unlink()
        with caplog.at_level(logging.WARNING, "bertqa"):
            assert [client.answer(*PAIR).model_version for _ in range(3)] == [1, 1, 1]
        replace(path, "2=999")
        assert client.answer(*PAIR).model_version == 1
    kept = [
        each.message for each in caplog.records if "keeping the split '1=100' until" in each.message
    ]
    assert len(kept) == 2, "once for the missing file, once for the wrong one"


def test_a_split_is_not_read_for_every_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_defaults, "FOLLOW_SECONDS", 3600.0)
    path = tmp_path / "split"
    path.write_text("1=100", encoding="utf-8")
    transport = InProcessTransport(dict.fromkeys((1, 2), InProcessTransport().versions[1]))
    with QAClient(transport=transport, traffic=path) as client:
        client.answer(*PAIR)
        path.write_text("2=100", encoding="utf-8")
        assert client.answer(*PAIR).model_version == 1


def test_what_cannot_be_followed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="needs url="):
        QAClient(transport=InProcessTransport(), traffic="auto")
    with pytest.raises(InvalidOptionError, match="traffic is '1=100'"):
        QAClient(transport=InProcessTransport(), traffic="1=100")  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match="cannot be read"):
        QAClient(transport=InProcessTransport(), traffic=tmp_path / "missing")


@pytest.fixture
def server(engine: str, tmp_path: Path) -> Iterator[Served]:
    for version in (1, 2):
        write_toy_version(tmp_path, version)
    with RepositoryWriter(Repository(tmp_path)) as writer:
        SplitModel(Repository(tmp_path), "bert-qa").publish({1: 100.0}, writer)
    write_config(tmp_path, "bert-qa", "bert-qa-traffic")
    with Served(engine, tmp_path) as server:
        yield server


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_both_clients_follow_the_split_that_the_server_reports(server: Served, scheme: str) -> None:
    address = server.address(scheme)
    with QAClient(**address, traffic="auto") as client:
        assert client.answer(*PAIR).model_version == 1
        assert client.answer(*PAIR, version=2).model_version == 2

    async def ask() -> list[int]:
        async with AsyncQAClient(**address, traffic="auto") as client:
            many = await asyncio.gather(*(client.answer(*PAIR) for _ in range(5)))
            streamed = [answer async for answer in client.answer_many([PAIR] * 3)]
            return [answer.model_version for answer in (*many, *streamed)]

    assert Counter(asyncio.run(ask())) == {1: 8}


def test_no_question_waits_while_the_split_is_read_again(
    open_client: Twins, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa.client._split_poller._LATE", 100.0)
    monkeypatch.setattr(_defaults, "FOLLOW_TIMEOUT_SECONDS", 60.0)
    begun, ended = threading.Event(), threading.Event()

    awaited = []

    def hold() -> None:
        begun.set()
        awaited.append(not ended.wait(20))

    with rest_gate(server.rest_url) as gate:
        client = open_client(gate.url, traffic="auto", timeout=60)
        client.answer(*PAIR)
        gate.obstacles[REPORTS] = [hold]
        while not begun.is_set():
            client.answer(*PAIR)
        many = list(client.answer_many([PAIR] * 10, look_ahead=1))
        assert [answer.model_version for answer in many] == [1] * 10
        reads = gate.asked.count(f"GET {REPORTS}")
        ended.set()
        while gate.asked.count(f"GET {REPORTS}") == reads:
            client.answer(*PAIR)
        client.close()
    assert awaited == [False], "no question waited for the end of the read"


def test_an_idle_client_reads_the_split_before_its_next_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_defaults, "FOLLOW_SECONDS", 0.2)
    monkeypatch.setattr(_defaults, "FOLLOW_IDLE_SECONDS", 0.5)
    path = tmp_path / "split"
    path.write_text("1=100", encoding="utf-8")
    transport = InProcessTransport(dict.fromkeys((1, 2), InProcessTransport().versions[1]))
    with QAClient(transport=transport, traffic=path) as client:
        for version in (1, 2, 1):
            path.write_text(f"{version}=100", encoding="utf-8")
            assert client.answer(*PAIR).model_version == version
            reading = client._driver._repeating
            assert reading is not None
            reading.join(60)
            assert not reading.is_alive()
            monkeypatch.setattr(client._split_poller, "_good_until", 0.0)


def test_reading_ends_with_the_client(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_defaults, "FOLLOW_IDLE_SECONDS", 3600.0)
    for forget in (False, True):
        client = QAClient(**server.address("http"), traffic="auto")
        client.answer(*PAIR)
        reading = client._driver._repeating
        assert reading is not None
        if not forget:
            client.close()
        del client
        gc.collect()
        reading.join(60)
        assert not reading.is_alive()

    async def ask() -> asyncio.Task[None] | None:
        async with AsyncQAClient(**server.address("http"), traffic="auto") as client:
            await client.answer(*PAIR)
            return client._driver._repeating

    async def ask_and_look() -> None:
        reading = await ask()
        assert reading is not None
        with contextlib.suppress(asyncio.CancelledError):
            await reading

    asyncio.run(ask_and_look())


def test_a_loop_that_ends_takes_its_reading_along(server: Served) -> None:
    client = AsyncQAClient(**server.address("http"), traffic="auto")

    async def ask() -> int:
        return (await client.answer(*PAIR)).model_version

    assert asyncio.run(ask()) == 1
    assert client._driver._repeating is not None
    assert client._driver._repeating.cancelled()
    with pytest.raises(ClientStateError, match="belongs to the event loop"):
        asyncio.run(ask())


def test_how_old_a_split_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    poller = SplitPoller()
    assert poller.ask(), "nothing is known yet"
    poller.take("1=100", poller.begin())
    now += 0.4
    assert poller.pause() == pytest.approx(0.1), "it is read twice a second"
    now += 0.6
    assert not poller.is_stale
    now += 0.1
    assert poller.ask()

    poller.take("1=100", poller.begin())
    now += 0.5
    begin = poller.begin()
    now += 1.0
    assert not poller.is_stale, "half a second more while it is read"
    now += 0.1
    assert poller.is_stale
    poller.keep(ServerUnreachableError("It is away."), begin)
    assert poller.pause() == pytest.approx(4 * 1.1)
    now += 4 * 1.1 + 1.4
    assert not poller.is_stale, "while the source is away, what is known is good"
    now += 0.2
    assert poller.is_stale

    now += _defaults.FOLLOW_IDLE_SECONDS
    assert poller.pause() is None, "nothing is asked any more"
    assert poller.ask()
    assert poller.pause() is not None


def test_that_no_split_was_set_is_known_as_well_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    poller = SplitPoller()
    begin = poller.begin()
    now += 0.9
    poller.keep(ModelNotFoundError("There is none."), begin)
    assert not poller.is_stale
    now += 0.2
    assert poller.is_stale


def test_without_a_split_the_default_version_answers(engine: str, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    write_config(tmp_path)
    with (
        Served(engine, tmp_path) as server,
        QAClient(**server.address("http"), traffic="auto") as client,
    ):
        assert client.answer(*PAIR).model_version == 1
