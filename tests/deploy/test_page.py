from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import httpx
import pytest

from bertqa import QAClient
from bertqa.evaluation import System
from bertqa_deploy.errors import DeployError
from bertqa_deploy.page import LOOPBACK, serve_page
from tests.deploy.page_server import serving_page
from tests.support.in_process import InProcessTransport
from tests.support.ports import free_port


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_page() as url:
        yield url


@pytest.mark.parametrize("body", [[], {"question": "Who?"}, {"question": 1, "context": "It."}])
def test_a_request_without_question_and_context_is_refused(url: str, body: object) -> None:
    answered = httpx.post(f"{url}/ask", json=body)
    assert answered.status_code == 400
    assert "has to" in answered.json()["error"]


def test_an_error_of_one_version_is_shown_in_its_place(url: str) -> None:
    answered = httpx.post(f"{url}/ask", json={"question": " ", "context": "It."})
    assert answered.status_code == 200
    assert all("question" in each["error"] for each in answered.json()["results"])


def test_another_site_cannot_use_the_page(url: str) -> None:
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
    assert "default-src 'none'" in httpx.get(url).headers["Content-Security-Policy"]


def test_a_port_that_is_taken_is_named(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with QAClient(transport=InProcessTransport()) as client:
        side = System("version 1", client, 1)
        with pytest.raises(DeployError, match=f"Port {port} .* another process listens there"):
            serve_page(side, side, port)


def test_the_page_is_served_until_it_is_interrupted() -> None:
    port = free_port()
    answered: list[int] = []

    def ask_and_interrupt() -> None:
        answered.append(httpx.get(f"http://{LOOPBACK}:{port}").status_code)
        signal.raise_signal(signal.SIGINT)

    with QAClient(transport=InProcessTransport()) as client:
        side = System("version 1", client, 1)
        threads = []

        def on_ready() -> None:
            threads.append(threading.Thread(target=ask_and_interrupt))
            threads[0].start()

        serve_page(side, side, port, on_ready)
    threads[0].join()
    assert answered == [200]
