"""Several models behind one HTTP API: odd names, and servers that do not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.support.engines import Served
from tests.support.http_api import HUGGING_FACE, ONE, Held, options_for, serving
from tests.support.models import write_config, write_toy_version
from tests.support.web import LOOPBACK

ODD = ("Kunde größe", "a%2Fb", "x?y#z", "日本", "[abc]", "team/qa/v1")


@pytest.fixture(scope="module")
def api(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    repository: Path = tmp_path_factory.mktemp("odd")
    for version, model in enumerate(("bert-qa", *ODD), start=1):
        write_toy_version(repository, version, model=model)
    write_config(repository, "bert-qa", *ODD)
    with (
        Served(engine, repository) as server,
        serving(options_for(server, models=("*",))) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("name", ODD)
def test_a_model_may_have_any_name_that_the_server_takes(api: httpx.Client, name: str) -> None:
    version = str(ODD.index(name) + 2)
    own = api.post("/v1/answers", json={**ONE, "model": name})
    assert own.headers["x-model-version"] == version
    hugging_face = api.post(f"/models/{quote(name, safe='')}", json=HUGGING_FACE)
    assert hugging_face.headers["x-model-version"] == version
    found = api.get("/v1/versions", params={"model": name}).json()
    assert (found["model"], found["versions"][0]["version"]) == (name, int(version))
    assert 'endpoint="/models/{model}"' in api.get("/metrics").text


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "team", "bert-qa/versions/1", "n" * 2000])
def test_another_name_is_404_whatever_it_looks_like(api: httpx.Client, name: str) -> None:
    for answered in (
        api.post("/v1/answers", json={**ONE, "model": name}),
        api.get("/v1/versions", params={"model": name}),
    ):
        assert answered.status_code == 404
        assert "There is no model" in answered.json()["error"]


def test_a_deadline_is_kept_while_a_model_is_looked_for() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        address = f"{LOOPBACK}:{silent.getsockname()[1]}"
        client = {"url": address, "metadata_url": f"http://{address}", "timeout": 3}
        with Held(models=("*",), client=client) as held:
            for path in ("/v1/answers", "/models/customer-1"):
                body = {**ONE, "model": "customer-1"} if path == "/v1/answers" else HUGGING_FACE
                began = time.monotonic()
                answered = httpx.post(
                    held.url + path, json=body, headers={"x-request-timeout": "100ms"}, timeout=60
                )
                assert time.monotonic() - began < 2
                assert answered.status_code == 504
                assert "'customer-1'" in answered.json()["error"]
