from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import CONTEXT, QUESTION, Invoke
from tests.support.engines import Served


def grpc(served: Served) -> list[str]:
    return ["--url", served.grpc_url, "--metadata-url", served.rest_url]


def test_an_answer_is_a_piece_of_the_context(invoke: Invoke, served: Served) -> None:
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--json", *grpc(served))

    (answer,) = json.loads(result.out)
    assert result.status == 0
    assert CONTEXT[answer["start"] : answer["end"]] == answer["text"] != ""
    assert answer["model_version"] == 2


def test_grpc_and_rest_return_the_same_answer(invoke: Invoke, served: Served) -> None:
    ask = ["ask", QUESTION, "--context", CONTEXT, "--json"]

    assert invoke(*ask, *grpc(served)).out == invoke(*ask, "--url", served.rest_url).out


def test_each_version_answers_for_itself(invoke: Invoke, served: Served) -> None:
    ask = ["ask", QUESTION, "--context", CONTEXT, "--json", "--url", served.rest_url, "--version"]

    answers = [json.loads(invoke(*ask, version).out)[0] for version in ("1", "2")]

    assert [answer["model_version"] for answer in answers] == [1, 2]
    assert answers[0]["score"] != answers[1]["score"]


def test_top_k_returns_that_many_best_first(invoke: Invoke, served: Served) -> None:
    result = invoke(
        "ask", QUESTION, "--context", CONTEXT, "--json", "--top-k", "3", "--url", served.rest_url
    )

    scores = [answer["score"] for answer in json.loads(result.out)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_people_see_the_whole_short_context(invoke: Invoke, served: Served) -> None:
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--url", served.rest_url)

    assert CONTEXT in result.out
    assert "version 2" in result.out


def test_a_context_comes_from_a_file_with_its_line_ends(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    text = CONTEXT.replace(". ", ".\r\n")
    file = tmp_path / "context.txt"
    file.write_bytes(text.encode())

    result = invoke(
        "ask", QUESTION, "--context-file", str(file), "--json", "--url", served.rest_url
    )

    (answer,) = json.loads(result.out)
    assert text[answer["start"] : answer["end"]] == answer["text"]


def test_a_context_comes_from_standard_input(
    invoke: Invoke, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input = io.TextIOWrapper(io.BytesIO(CONTEXT.encode()))
    monkeypatch.setattr(sys, "stdin", standard_input)

    result = invoke("ask", QUESTION, "-", "--json", "--url", served.rest_url)

    assert result.status == 0
    assert json.loads(result.out)[0]["text"] in CONTEXT


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "type a QUESTION, or --input"),
        (["q"], "Pass the context exactly once"),
        (["q", "-", "--context", "c"], "Pass the context exactly once"),
        (["q", "surplus", "--context", "c"], "one argument too many: 'surplus'"),
        (["q", "--context-file", "absent.txt"], "absent.txt cannot be read"),
        (["q", "--context", "c", "--input", __file__, "--output", "a.csv"], "Either a QUESTION"),
        (["--input", __file__], "--input and --output have to be given together"),
        (["", "--context", "c"], "The question is empty"),
        (["q", "--context", "  "], "The context is empty"),
        (["q", "--context", "c", "--version", "0"], "Invalid value for '--version'"),
        (["q", "--context", "c", "--url", "ftp://x"], "begins with ftp://"),
    ],
)
def test_wrong_usage_is_status_2_and_is_named(
    invoke: Invoke, arguments: list[str], expected: str
) -> None:
    result = invoke("ask", *arguments)

    assert result.status == 2
    assert expected in result.err
    assert "Traceback" not in result.err


def test_a_context_that_is_not_utf8_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "latin1.txt"
    file.write_bytes("café".encode("latin-1"))

    result = invoke("ask", "q", "--context-file", str(file))

    assert result.status == 2
    assert "latin1.txt is not UTF-8" in result.err


def test_an_address_without_a_server_is_status_1(invoke: Invoke, free_port: int) -> None:
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--url", f"http://127.0.0.1:{free_port}")

    assert result.status == 1
    assert f"Cannot connect to http://127.0.0.1:{free_port}" in result.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version", "9"], "does not serve version 9"),
        (["--model", "bert-qq"], "does not serve the model 'bert-qq'"),
    ],
)
def test_a_model_or_version_that_is_not_there_is_named(
    invoke: Invoke, served: Served, arguments: list[str], expected: str
) -> None:
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--url", served.rest_url, *arguments)

    assert result.status == 1
    assert expected in result.err


def test_a_file_of_questions_is_answered_and_its_bad_rows_are_reported(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    questions, answers = tmp_path / "questions.csv", tmp_path / "answers.csv"
    with questions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["id", "question", "context"], ["a", QUESTION, CONTEXT], ["b", "", "c"]])

    result = invoke(
        "ask", "--input", str(questions), "--output", str(answers), "--url", served.rest_url
    )

    with answers.open(newline="", encoding="utf-8") as file:
        good, bad = csv.DictReader(file)
    assert result.status == 0
    assert "Bad rows: 1;" in result.out
    assert CONTEXT[int(good["start"]) : int(good["end"])] == good["answer"] != ""
    assert (bad["id"], bad["error"]) == ("b", "The question is empty.")


def test_a_file_of_questions_that_is_not_there_is_named(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    absent = tmp_path / "absent.csv"

    result = invoke(
        *("ask", "--input", str(absent), "--output", str(tmp_path / "answers.csv")),
        *("--url", served.rest_url),
    )

    assert result.status == 2
    assert str(absent) in result.err
