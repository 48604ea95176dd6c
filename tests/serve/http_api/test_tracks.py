"""Several servers, between which a file splits the questions: a chart's tracks."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bertqa.errors import InvalidOptionError
from bertqa_serve.http_api import HttpApiOptions, read_tracks, tracks
from tests.support.engines import Served, toy_server
from tests.support.http_api import HUGGING_FACE, ONE, serving


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Served]]:
    """A server for each of versions 1 and 2."""
    first = toy_server("local", tmp_path_factory.mktemp("first"), 1)
    second = toy_server("local", tmp_path_factory.mktemp("second"), 2)
    with first, second:
        yield {1: first, 2: second}


class Api:
    """The HTTP API in front of tracks."""

    def __init__(self, file: Path, servers: dict[int, Served]) -> None:
        self.file = file
        self._servers = servers
        self.http = httpx.Client(timeout=60)

    def track(self, version: int, weight: float, /, **changes: Any) -> dict[str, Any]:
        track = {**self._servers[version].address(), "version": version, "weight": weight}
        return {**track, **changes}

    def follow(self, *tracks: dict[str, Any]) -> None:
        """Write the file as the kubelet does, and wait until it is followed."""
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps({"tracks": tracks}))
        beside.replace(self.file)
        wanted: dict[str, float] = {}
        for each in tracks:
            name = "any" if each["version"] is None else str(each["version"])
            wanted[name] = wanted.get(name, 0) + each["weight"]
        while self.split() != wanted:
            time.sleep(0.02)

    def split(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        return {
            sample.labels["version"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "bertqa_http_split_percent"
        }

    def versions(self, count: int, **headers: str) -> Counter[str]:
        """Which versions answer so many questions."""
        answers = [self.http.post("/", json=HUGGING_FACE, headers=headers) for _ in range(count)]
        return Counter(each.raise_for_status().headers["x-model-version"] for each in answers)


@pytest.fixture
def api(servers: dict[int, Served], tmp_path: Path) -> Iterator[Api]:
    one = Api(tmp_path / "tracks.json", servers)
    one.file.write_text(json.dumps({"tracks": [one.track(1, 100)]}))
    with serving(HttpApiOptions(client={}, tracks=one.file)) as url:
        one.http.base_url = url
        with one.http:
            yield one


def test_questions_go_where_the_weights_of_now_send_them(api: Api) -> None:
    assert api.versions(5) == {"1": 5}
    api.follow(api.track(1, 50), api.track(2, 50))
    assert api.versions(40).keys() == {"1", "2"}
    api.follow(api.track(1, 0), api.track(2, 100))
    assert api.versions(5) == {"2": 5}
    api.follow(api.track(2, 100))
    assert api.versions(5) == {"2": 5}


def test_a_key_stays_with_its_version_and_a_named_version_answers(api: Api) -> None:
    api.follow(api.track(1, 50), api.track(2, 50))
    chosen = [api.versions(4, **{"x-bert-qa-key": f"user-{n}"}) for n in range(12)]
    assert all(len(each) == 1 for each in chosen)
    assert len({version for each in chosen for version in each}) == 2
    for key in ("ü", "日本", "ß", "naïve", "Ω"):
        sent = {**ONE, "routing_key": key}
        in_body = api.http.post("/v1/answers", json=sent).headers["x-model-version"]
        headers = {b"x-bert-qa-key": key.encode()}
        in_header = api.http.post("/", json=HUGGING_FACE, headers=headers)
        assert in_header.headers["x-model-version"] == in_body
    assert api.versions(5, **{"x-bert-qa-version": "1"}) == {"1": 5}
    api.follow(api.track(1, 100), api.track(2, 0))
    assert api.versions(5, **{"x-bert-qa-version": "2"}) == {"2": 5}
    missing = api.http.post("/v1/answers", json={**ONE, "version": 9})
    assert missing.status_code == 404
    assert missing.json() == {"error": "There is no version 9 here, but 1, 2."}


def test_a_list_is_answered(api: Api) -> None:
    api.follow(api.track(1, 0), api.track(2, 100))
    answered = api.http.post("/v1/answers", json={"pairs": [ONE, {"question": ""}, ONE]})
    assert answered.headers["x-model-version"] == "2"
    results = [each for each in answered.json()["results"] if "answers" in each]
    assert [each["answers"][0]["model_version"] for each in results] == [2, 2]


def test_what_is_served_is_shown_with_its_share(api: Api) -> None:
    api.follow(api.track(1, 90), api.track(2, 10))
    shown = api.http.get("/v1/versions").json()
    assert shown["split"] == {"1": 90, "2": 10}
    assert [(each["version"], each["is_default"]) for each in shown["versions"]] == [
        (1, True),
        (2, False),
    ]
    assert shown["versions"][0]["precision"]


def test_a_server_may_have_whatever_version_it_has(api: Api) -> None:
    api.follow(api.track(2, 100, version=None))
    assert api.versions(2) == {"2": 2}
    assert api.versions(2, **{"x-bert-qa-version": "2"}) == {"2": 2}
    assert api.http.get("/v1/versions").json()["split"] == {"2": 100}


def test_a_pinned_track_answers_while_its_version_is_replaced(api: Api) -> None:
    """The file is late: the server has another version than the file says."""
    api.follow(api.track(2, 100, version=1))
    assert api.versions(2) == {"2": 2}


def test_it_is_ready_while_a_track_with_a_weight_is(api: Api) -> None:
    assert api.http.get("/health/ready").status_code == 200
    gone = {"url": "127.0.0.1:1", "metadata_url": "http://127.0.0.1:1", "version": 3}
    api.follow(api.track(1, 0), {**gone, "weight": 100})
    while api.http.get("/health/ready").status_code != 503:
        time.sleep(0.02)
    shown = api.http.get("/v1/versions").json()
    assert [each["version"] for each in shown["versions"]] == [1]


@pytest.mark.parametrize("given", [{}, {"grpc.max_send_message_length": 10**6}])
def test_a_track_that_is_not_asked_any_more_is_left_alone(
    servers: dict[int, Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    """A pod that ends waits until no client is connected."""
    monkeypatch.setattr(tracks, "_IDLE_SECONDS", 1)
    one = Api(tmp_path / "tracks.json", servers)
    one.file.write_text(json.dumps({"tracks": [one.track(1, 100)]}))
    port = int(servers[1].address()["url"].rpartition(":")[2])
    options = HttpApiOptions(client={"channel_options": given}, tracks=one.file)
    with serving(options) as url, one.http:
        one.http.base_url = url
        before = connections(port)
        assert one.versions(1) == {"1": 1}
        assert connections(port) > before
        while connections(port) > before:
            time.sleep(0.02)
        assert one.versions(1) == {"1": 1}


def test_a_track_over_rest_answers(servers: dict[int, Served], tmp_path: Path) -> None:
    one = Api(tmp_path / "tracks.json", servers)
    address = servers[1].address("http")
    one.file.write_text(json.dumps({"tracks": [one.track(1, 100, **address)]}))
    with serving(HttpApiOptions(client={}, tracks=one.file)) as url, one.http:
        one.http.base_url = url
        assert one.versions(1) == {"1": 1}


def connections(port: int) -> int:
    """How many connections this process has to a port of this machine."""
    found = psutil.Process().net_connections("tcp")
    return sum(bool(each.raddr) and each.raddr.port == port for each in found)


def test_a_file_that_is_not_valid_changes_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("{", '{"tracks": []}', None):
        caplog.clear()
        if text is None:
            api.file.unlink()
        else:
            api.file.write_text(text)
        while "keeping the tracks until they can be read again" not in caplog.text:
            assert api.split() == {"1": 100}
        assert api.versions(2) == {"1": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "EOF"),
        ("[]", "Input should be an object"),
        ('{"tracks": []}', "no version with a weight above 0"),
        ('{"tracks": [{"url": "a:1", "weight": 0}]}', "no version with a weight above 0"),
        ('{"tracks": [{"weight": 100}]}', "tracks.0.url: Field required"),
        ('{"tracks": [{"url": "a:1", "weight": -1}]}', "tracks.0.weight: Input should be"),
        ('{"tracks": [{"url": "a:1", "weight": 1, "wieght": 2}]}', "tracks.0.wieght: Extra"),
        ('{"tracks": [{"url": "ftp://a", "weight": 1}]}', "tracks.0: The address 'ftp://a' begins"),
        (
            '{"tracks": [{"url": "a:9000", "metadata_url": "", "weight": 1}]}',
            "tracks.0: The address '' cannot be read",
        ),
        (None, "No such file"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    file = tmp_path / "tracks.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidOptionError) as refused:
        read_tracks(file)
    assert reason in str(refused.value)
    assert str(file) in str(refused.value)
