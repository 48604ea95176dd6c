"""What the endpoints answer, on each engine."""

from __future__ import annotations

import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bertqa import AsyncQAClient, SquadDecoder
from tests.support.engines import Served
from tests.support.http_api import CONTEXT, HUGGING_FACE, ONE, QUESTION

BRIDGE = "The 🌉 bridge of Lübeck 🏙 was opened in 1932."


async def test_both_forms_answer_as_the_client_does(api: httpx.Client, served: Served) -> None:
    async with AsyncQAClient(**served.address()) as client:
        best, second = await client.answers(QUESTION, CONTEXT, 2)
        other = await client.answer(QUESTION, CONTEXT, version=1, max_answer_len=2)
        squad = await client.answer(QUESTION, CONTEXT, decoder=SquadDecoder(n_best=5))

    answered = api.post("/", json=HUGGING_FACE)
    assert answered.status_code == 200
    expected = {"answer": best.text, "score": best.score, "start": best.start, "end": best.end}
    assert answered.json() == expected
    assert answered.headers["x-model-version"] == "2"
    assert api.post("/models/bert-qa", json=HUGGING_FACE).json() == expected
    two = api.post("/", json={**HUGGING_FACE, "parameters": {"top_k": 2}}).json()
    assert [each["answer"] for each in two] == [best.text, second.text]
    many = api.post("/", json={"inputs": [ONE, ONE]}).json()
    assert many == [expected, expected]

    own = api.post("/v1/answers", json={**ONE, "top_k": 2}).json()["answers"]
    assert own[0] == {
        "text": best.text,
        "start": best.start,
        "end": best.end,
        "score": best.score,
        "model_version": 2,
    }
    assert own[1]["text"] == second.text
    first = api.post("/v1/answers", json={**ONE, "version": 1, "max_answer_len": 2})
    assert first.json()["answers"][0]["text"] == other.text
    assert first.headers["x-model-version"] == "1"
    decoded = api.post("/v1/answers", json={**ONE, "decoder": {"name": "squad", "n_best": 5}})
    assert decoded.json()["answers"][0]["text"] == squad.text


@pytest.mark.parametrize("unit", ["codepoint", "utf16"])
def test_places_count_what_the_request_counts(api: httpx.Client, unit: str) -> None:
    body = {"question": "When?", "context": BRIDGE, "offset_unit": unit, "top_k": 5}
    for answer in api.post("/v1/answers", json=body).json()["answers"]:
        if unit == "codepoint":
            assert BRIDGE[answer["start"] : answer["end"]] == answer["text"]
        else:
            units = BRIDGE.encode("utf-16-le")[2 * answer["start"] : 2 * answer["end"]]
            assert units.decode("utf-16-le") == answer["text"]


PAIRS = [
    {"question": QUESTION},
    {"question": ""},
    "no pair",
    {"question": QUESTION, "context": "Anna Berg."},
    {"question": 5},
    {"question": QUESTION, "text": CONTEXT},
    {"question": QUESTION, "context": None},
]


def test_a_bad_pair_has_an_error_in_its_place(api: httpx.Client) -> None:
    body = {"context": CONTEXT, "pairs": PAIRS}
    answered = api.post("/v1/answers", json=body)
    assert answered.status_code == 200
    results = answered.json()["results"]
    assert ["error" in each for each in results] == [False, True, True, False, True, True, True]
    assert results[1] == {"error": "The question is empty."}
    assert results[3]["answers"][0]["text"] in "Anna Berg."

    with api.stream(
        "POST", "/v1/answers", json=body, headers={"accept": "application/x-ndjson"}
    ) as lines:
        assert lines.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line) for line in lines.iter_lines()] == results


def test_an_empty_list_has_no_results(api: httpx.Client) -> None:
    assert api.post("/v1/answers", json={"pairs": []}).json() == {"results": []}
    lines = api.post("/v1/answers", json={"pairs": []}, headers={"accept": "application/x-ndjson"})
    assert (lines.status_code, lines.content) == (200, b"")


def test_headers_choose_the_version_and_the_body_takes_precedence(api: httpx.Client) -> None:
    for version in ("1", "2"):
        headers = {"x-bert-qa-version": version}
        assert api.post("/", json=HUGGING_FACE, headers=headers).headers["x-model-version"] == (
            version
        )
    body = {**ONE, "version": 2}
    named = api.post("/v1/answers", json=body, headers={"x-bert-qa-version": "1"})
    assert named.headers["x-model-version"] == "2"


def test_a_version_or_a_model_that_is_not_there_is_404(api: httpx.Client) -> None:
    for answered in (
        api.post("/v1/answers", json={**ONE, "version": 7}),
        api.post("/", json=HUGGING_FACE, headers={"x-bert-qa-version": "7"}),
        api.post("/models/other", json=HUGGING_FACE),
        api.post("/nowhere", json={}),
    ):
        assert answered.status_code == 404
        assert answered.json()["error"].endswith(".")


def test_versions_health_and_metrics(api: httpx.Client) -> None:
    found = api.get("/v1/versions").json()
    assert [each["version"] for each in found["versions"]] == [1, 2]
    assert [each["is_default"] for each in found["versions"]] == [False, True]
    assert (found["model"], found["split"]) == ("bert-qa", None)
    assert api.get("/health/live").json() == api.get("/health/ready").json() == {"status": "ok"}

    def counts() -> dict[str, float]:
        text = api.get("/metrics").text
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    before = counts()
    api.post("/", json=HUGGING_FACE, headers={"x-bert-qa-version": "1"})
    after = counts()
    for name in (
        "bertqa_http_requests_total['/', '200', 'POST']",
        "bertqa_http_answers_total['1', 'bert-qa']",
        "bertqa_http_windows_total[]",
        *(f"bertqa_http_phase_seconds_count['{each}']" for each in ("read", "infer", "decode")),
    ):
        assert after[name] == before.get(name, 0) + 1
    assert after["bertqa_http_in_flight[]"] == 0


def test_the_description_is_openapi_with_examples(api: httpx.Client) -> None:
    described = api.get("/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    assert {"400", "401", "421"} <= described["paths"]["/v1/answers"]["post"]["responses"].keys()
    assert set(described["paths"]) == {
        *("/", "/models/{model}", "/v1/answers", "/v1/models", "/v1/versions"),
        *("/health/live", "/health/ready", "/metrics"),
    }
    schemas = described["components"]["schemas"]
    for name in ("HuggingFaceRequest", "AnswersRequest"):
        for example in schemas[name]["examples"]:
            path = "/" if "inputs" in example else "/v1/answers"
            assert api.post(path, json=example).status_code == 200
    assert schemas["AnswersRequest"]["properties"]["top_k"]["anyOf"][0]["minimum"] == 1
    assert api.get("/docs").status_code == 200
