"""Several models of one server behind one HTTP API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bertqa import QAClient
from bertqa_serve.http_api import HttpApiOptions
from tests.support.engines import Served
from tests.support.http_api import CONTEXT, HUGGING_FACE, ONE, QUESTION, options_for, serving
from tests.support.models import write_config, write_toy_version

OTHERS = ("customer-1", "customer-2")
MISSING = "There is no model 'customer-3' here: GET /v1/models lists those that there are."


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a version each for everyone, for two customers, and for nothing but tests."""
    repository: Path = tmp_path_factory.mktemp("models")
    for version, model in enumerate(("bert-qa", *OTHERS, "internal"), start=1):
        write_toy_version(repository, version, model=model)
    write_config(repository, "bert-qa", *OTHERS, "internal")
    return repository


@pytest.fixture(scope="module")
def served(engine: str, repository: Path) -> Iterator[Served]:
    with Served(engine, repository) as server:
        yield server


@pytest.fixture(scope="module")
def api(served: Served) -> Iterator[httpx.Client]:
    options = options_for(served, models=("customer-*",))
    with serving(options) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_a_request_names_its_model_in_either_form(api: httpx.Client, served: Served) -> None:
    for number, model in enumerate(("bert-qa", *OTHERS), start=1):
        with QAClient(**served.address(), model=model) as client:
            expected = client.answer(QUESTION, CONTEXT)
        own = api.post("/v1/answers", json={**ONE, "model": model})
        assert own.status_code == 200
        assert own.json()["answers"][0]["text"] == expected.text
        assert own.headers["x-model-version"] == str(number)
        hugging_face = api.post(f"/models/{model}", json=HUGGING_FACE)
        assert hugging_face.json()["score"] == expected.score
        versions = api.get("/v1/versions", params={"model": model}).json()
        assert (versions["model"], versions["versions"][0]["version"]) == (model, number)
    assert api.post("/v1/answers", json=ONE).headers["x-model-version"] == "1"
    assert api.post("/v1/answers", json={**ONE, "model": None}).headers["x-model-version"] == "1"
    many = api.post("/v1/answers", json={"pairs": [ONE, ONE], "model": OTHERS[0]})
    assert many.headers["x-model-version"] == "2"


@pytest.mark.parametrize("name", ["customer-3", "internal", "bert-qa-traffic", "Customer-1", ""])
def test_a_model_that_is_not_for_requests_is_refused_by_its_name(
    api: httpx.Client, name: str
) -> None:
    sentence = MISSING.replace("customer-3", name)
    for answered in (
        api.post("/v1/answers", json={**ONE, "model": name}),
        api.get("/v1/versions", params={"model": name}),
        api.post(f"/models/{name}", json=HUGGING_FACE),
    ):
        if name or "/v1/" in str(answered.url):
            assert (answered.status_code, answered.json()) == (404, {"error": sentence})


def test_models_share_one_connection(engine: str, repository: Path) -> None:
    with (
        Served(engine, repository) as server,
        serving(options_for(server, models=("*",))) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for model in ("bert-qa", *OTHERS, "internal"):
            client.post("/v1/answers", json={**ONE, "model": model}).raise_for_status()
        opened = psutil.Process().net_connections(kind="tcp")
        assert sum(each.raddr[1:] == (server.grpc_port,) for each in opened) == 1


def test_a_request_to_many_models_takes_a_place_as_any_other(served: Served) -> None:
    options = options_for(served, models=("customer-*",), places=1)
    with serving(options) as url, httpx.Client(base_url=url, timeout=60) as client:
        with ThreadPoolExecutor(8) as pool:
            body = {"pairs": [ONE] * 32}
            asked = [
                pool.submit(client.post, "/v1/answers", json={**body, "model": model})
                for model in (*OTHERS, *OTHERS)
            ]
        statuses = {each.result().status_code for each in asked}
    assert 200 in statuses
    assert statuses <= {200, 503}


def test_the_models_that_a_request_may_name_are_listed(api: httpx.Client) -> None:
    assert api.get("/v1/models").json() == {
        "models": [
            {"name": "bert-qa", "is_default": True},
            {"name": "customer-1", "is_default": False},
            {"name": "customer-2", "is_default": False},
        ]
    }


@pytest.mark.parametrize(
    ("models", "listed"),
    [(("customer-1", "customer-3"), ["customer-1"]), (("customer-*",), ["customer-2"])],
)
def test_tracks_list_the_names_that_are_given_or_were_asked_and_are_served(
    served: Served, tmp_path: Path, models: tuple[str, ...], listed: list[str]
) -> None:
    file = tmp_path / "tracks.json"
    file.write_text(json.dumps({"tracks": [{**served.address(), "version": 1, "weight": 100}]}))
    options = HttpApiOptions(client={}, tracks=file, models=models)
    with serving(options) as url, httpx.Client(base_url=url, timeout=60) as client:
        for name in ("customer-2", "customer-3"):
            client.post("/v1/answers", json={**ONE, "model": name})
        found = client.get("/v1/models").json()["models"]
    assert [each["name"] for each in found] == ["bert-qa", *listed]


def test_no_other_model_can_be_named_where_none_is_allowed(served: Served) -> None:
    with serving(options_for(served)) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/v1/answers", json={**ONE, "model": "customer-1"}).status_code == 404
        assert client.post("/v1/answers", json={**ONE, "model": "bert-qa"}).status_code == 200
        assert [each["name"] for each in client.get("/v1/models").json()["models"]] == ["bert-qa"]


def test_answers_are_counted_by_model(api: httpx.Client) -> None:
    api.post("/v1/answers", json={**ONE, "model": OTHERS[1]}).raise_for_status()
    api.post("/v1/answers", json={**ONE, "model": "customer-3"})
    found = {
        sample.labels["model"]: sample.labels["version"]
        for family in text_string_to_metric_families(api.get("/metrics").text)
        for sample in family.samples
        if sample.name == "bertqa_http_answers_total"
    }
    assert found["customer-2"] == "3"
    assert "customer-3" not in found


def test_a_model_that_is_added_later_answers_and_one_that_is_gone_does_not(
    engine: str, tmp_path: Path
) -> None:
    write_toy_version(tmp_path, 1)
    write_config(tmp_path)
    body = {**ONE, "model": "customer-3"}
    with (
        Served(engine, tmp_path) as server,
        serving(options_for(server, models=("*",), client={"timeout": 5})) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert client.post("/v1/answers", json=body).json() == {"error": MISSING}
        write_toy_version(tmp_path, 4, model="customer-3")
        write_config(tmp_path, "bert-qa", "customer-3")
        server.reload()
        assert client.post("/v1/answers", json=body).headers["x-model-version"] == "4"
        write_config(tmp_path)
        server.reload()
        # A server keeps the name, so that nobody knows whether it comes back.
        assert client.post("/v1/answers", json=body).status_code == 503
        assert [each["name"] for each in client.get("/v1/models").json()["models"]] == ["bert-qa"]
        assert client.post("/v1/answers", json=ONE).status_code == 200
