from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Invoke, serving
from tests.support.engines import Served
from tests.support.http_api import CONTEXT, HUGGING_FACE
from tests.support.ports import free_port

TOKEN = "a-secret-token"
ASKING = {"authorization": f"Bearer {TOKEN}"}


@contextmanager
def serving_http_api(
    served: Served, *options: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the verb in front of a server; see `serving`."""
    address = served.address()
    urls = ("--url", address["url"], "--metadata-url", address["metadata_url"])
    with serving("http-api", *urls, *options, seconds=60, BERTQA_API_TOKEN=TOKEN) as (
        shown,
        process,
    ):
        yield shown["http_url"], process


def test_the_verb_serves_records_and_ends_when_asked(served: Served, tmp_path: Path) -> None:
    record = tmp_path / "answers.jsonl"
    options = ("--record", str(record), "--shadow", "1", "--version", "2")
    with serving_http_api(served, *options) as (url, process):
        assert httpx.post(url, json=HUGGING_FACE, timeout=60).status_code == 401
        answered = httpx.post(url, json=HUGGING_FACE, headers=ASKING, timeout=60)
        assert answered.headers["x-model-version"] == "2"
        shown = httpx.get(f"{url}/v1/versions", headers=ASKING, timeout=60).json()
        assert [each["is_default"] for each in shown["versions"]] == [False, True]
    line = json.loads(record.read_text())
    assert (line["answer"]["version"], line["shadow"]["version"]) == (2, 1)
    assert CONTEXT not in record.read_text()
    assert process.returncode == 0


@pytest.mark.thorough
def test_several_processes_answer_count_together_and_drain(served: Served) -> None:
    with serving_http_api(served, "--workers", "2") as (url, process):
        for _ in range(40):
            # Each over a connection of its own, which either process may take.
            assert httpx.post(url, json=HUGGING_FACE, headers=ASKING, timeout=60).status_code == 200
        counts = httpx.get(f"{url}/metrics", timeout=60).text
        assert 'bertqa_http_requests_total{endpoint="/",method="POST",status="200"} 40.0' in counts
        statuses: list[int] = []
        many = {"context": CONTEXT, "pairs": [{"question": f"Who is {n}?"} for n in range(500)]}

        def ask() -> None:
            answered = httpx.post(f"{url}/v1/answers", json=many, headers=ASKING, timeout=120)
            assert len(answered.json()["results"]) == 500
            statuses.append(answered.status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        while (
            "bertqa_http_in_flight 0.0" in httpx.get(f"{url}/metrics", timeout=60).text
            and not statuses
        ):
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert statuses == [200]


def is_taken(url: str) -> bool:
    """Return whether a request is taken, and answered.

    One whose connection waits to be accepted as the socket closes is reset, and not refused.
    """
    try:
        return httpx.get(f"{url}/health/live", timeout=120).is_success
    except (httpx.ConnectError, httpx.ReadError):
        return False


@pytest.mark.thorough
def test_several_processes_refuse_what_comes_after_a_signal_and_end_at_the_second(
    served: Served,
) -> None:
    many = {"context": CONTEXT, "pairs": [{"question": f"Who is {n}?"} for n in range(50_000)]}
    headers = {**ASKING, "accept": "application/x-ndjson"}
    with serving_http_api(served, "--workers", "2", "--drain", "1h") as (url, process):
        address = f"{url}/v1/answers"
        with httpx.stream("POST", address, json=many, headers=headers, timeout=120) as answered:
            lines = answered.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            while is_taken(url):
                pass
            process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.HTTPError):
                assert sum(1 for _ in lines) < 49_999
        process.wait()


def test_a_port_that_is_taken_is_named(invoke: Invoke, served: Served) -> None:
    repository = str(served.repository)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        alone = invoke("serve", "http-api", "--url", served.grpc_url, "--http-port", port)
        beside = invoke("serve", "--repository", repository, "--http-port", port)
    for result in (alone, beside):
        assert result.status == 1
        assert f"Port {port} on 127.0.0.1 cannot be used for the HTTP API" in " ".join(
            result.err.split()
        )
    # Only `serve` can leave it out.
    assert "--no-http-api" not in alone.err
    assert "--no-http-api" in beside.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shadow", "2"], "--shadow needs --record"),
        (["--record", "/missing/log.jsonl"], "there is no directory /missing"),
        (["--cors-origin", "example.com"], "is not a web origin"),
        (["--workers", "0"], "--workers"),
        (["--tracks", "t.json", "--version", "1"], "Pass --tracks or --version, and not both"),
        (["--tracks", "t.json", "--url", "a:9000"], "Pass --tracks or --url, and not both"),
        (["--tracks", "t.json", "--shadow", "1", "--record", "f"], "--tracks or --shadow"),
        (["--api-token", "a", "--api-token-file", __file__], "and not both"),
        (["--url", "nonsense://x"], "The address 'nonsense://x' begins with nonsense://"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    invoke: Invoke, options: list[str], words: str
) -> None:
    result = invoke("serve", "http-api", *options)
    assert result.status == 2
    assert " ".join(result.err.split()).count(words) == 1
    assert '"level"' not in result.err  # It is said once, and not in a log as well.


def test_a_file_of_tracks_that_is_missing_is_named(invoke: Invoke, tmp_path: Path) -> None:
    missing = str(tmp_path / "tracks.json")
    result = invoke("serve", "http-api", "--tracks", missing, "--http-port", str(free_port()))
    assert result.status == 2
    assert "The tracks in" in result.err
    assert "Traceback" not in result.err
