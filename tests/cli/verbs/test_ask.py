from __future__ import annotations

import csv
import gzip
import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import CONTEXT, QUESTION, Invoke
from tests.support.engines import Served


def grpc(served: Served) -> list[str]:
    return ["--url", served.grpc_url, "--metadata-url", served.rest_url]


def test_an_answer_is_a_piece_of_the_context(invoke: Invoke, served: Served) -> None:
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--json", *grpc(served))

    (answer,) = json.loads(result.out)["answers"]
    assert result.status == 0
    assert CONTEXT[answer["start"] : answer["end"]] == answer["text"] != ""
    assert answer["model_version"] == 2


def test_grpc_and_rest_return_the_same_answer(invoke: Invoke, served: Served) -> None:
    ask = ["ask", QUESTION, "--context", CONTEXT, "--json"]

    assert invoke(*ask, *grpc(served)).out == invoke(*ask, "--url", served.rest_url).out


def test_each_version_answers_for_itself(invoke: Invoke, served: Served) -> None:
    ask = ["ask", QUESTION, "--context", CONTEXT, "--json", "--url", served.rest_url, "--version"]

    answers = [json.loads(invoke(*ask, version).out)["answers"][0] for version in ("1", "2")]

    assert [answer["model_version"] for answer in answers] == [1, 2]
    assert answers[0]["score"] != answers[1]["score"]


def test_top_k_returns_that_many_best_first(invoke: Invoke, served: Served) -> None:
    result = invoke(
        "ask", QUESTION, "--context", CONTEXT, "--json", "--top-k", "3", "--url", served.rest_url
    )

    scores = [answer["score"] for answer in json.loads(result.out)["answers"]]
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

    (answer,) = json.loads(result.out)["answers"]
    assert text[answer["start"] : answer["end"]] == answer["text"]


def test_a_context_comes_from_standard_input(
    invoke: Invoke, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    standard_input = io.TextIOWrapper(io.BytesIO(CONTEXT.encode()))
    monkeypatch.setattr(sys, "stdin", standard_input)

    result = invoke("ask", QUESTION, "-", "--json", "--url", served.rest_url)

    assert result.status == 0
    assert json.loads(result.out)["answers"][0]["text"] in CONTEXT


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "type a QUESTION, or --input"),
        (["q"], "Pass the context exactly once"),
        (["q", "--context", "-"], "'-' after the question for standard input"),
        (["q", "-", "--context", "c"], "Pass the context exactly once"),
        (["q", "surplus", "--context", "c"], "one argument too many: 'surplus'"),
        (["q", "--context-file", "absent.txt"], "absent.txt cannot be read"),
        (["q", "--context", "c", "--input", __file__, "--output", "a.csv"], "Either a QUESTION"),
        (["--output", "a.csv"], "--output is for the answers to --input"),
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
        (
            ["--version", "9"],
            "does not serve version 9 of the model 'bert-qa'. Versions that are served: 1, 2.",
        ),
        (["--model", "bert-qq"], "does not serve the model 'bert-qq'"),
    ],
)
def test_a_model_or_version_that_is_not_there_is_named(
    invoke: Invoke, served: Served, arguments: list[str], expected: str
) -> None:
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--url", served.rest_url, *arguments)

    assert result.status == 1
    assert expected in " ".join(result.err.split())


def test_a_rest_address_without_its_scheme_is_guessed(invoke: Invoke, served: Served) -> None:
    address = served.rest_url.removeprefix("http://")
    result = invoke("ask", QUESTION, "--context", CONTEXT, "--url", address, "--timeout", "10")

    assert result.status == 1
    expected = f"Where {address} is the REST address itself, write {served.rest_url}."
    assert expected in " ".join(result.err.split())


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


TABLE = f"nr\tFrage\tText\n1\t{QUESTION}\t{CONTEXT}\n2\t\t{CONTEXT}\n"


def piped(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_columns_formats_and_options_of_a_file(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    questions, answers = tmp_path / "questions.tsv.gz", tmp_path / "answers.jsonl"
    questions.write_bytes(gzip.compress(TABLE.encode()))
    names = ["--question-column", "frage", "--context-column", "text", "--id-column", "NR"]
    options = ["--top-k", "3", "--max-answer-len", "2", "--doc-stride", "4", "--no-align-to-words"]
    connection = ["--url", served.rest_url]

    result = invoke(
        *("ask", "--input", str(questions), "--output", str(answers), "--json"),
        *(*names, *options, *connection),
    )
    one = invoke("ask", QUESTION, "--context", CONTEXT, "--json", *options, *connection)

    assert json.loads(result.out) == {"answered": 1, "resumed": 0, "failed": 1}
    *found, bad = (json.loads(line) for line in answers.read_text().splitlines())
    assert [each["rank"] for each in found] == [1, 2, 3]
    assert [(each["answer"], each["start"]) for each in found] == [
        (each["text"], each["start"]) for each in json.loads(one.out)["answers"]
    ]
    assert (bad["nr"], bad["error"]) == ("2", "The question is empty.")


def test_no_answer_competes_where_it_is_wanted(invoke: Invoke, served: Served) -> None:
    ask = ["ask", QUESTION, "--context", CONTEXT, "--json", "--top-k", "3000"]
    connection = ["--url", served.rest_url]

    with_none = json.loads(invoke(*ask, "--handle-impossible-answer", *connection).out)["answers"]
    without = json.loads(invoke(*ask, *connection).out)["answers"]

    assert "" in {each["text"] for each in with_none}
    assert "" not in {each["text"] for each in without}


@pytest.mark.parametrize("output", [("--output", "-"), ()])
def test_a_pipe_goes_in_and_out(
    invoke: Invoke, served: Served, monkeypatch: pytest.MonkeyPatch, output: tuple[str, ...]
) -> None:
    piped(TABLE.encode(), monkeypatch)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))

    result = invoke(
        *("ask", "--input", "-", *output, "--url", served.rest_url),
        *("--question-column", "Frage", "--context-column", "Text"),
    )

    rows = list(csv.DictReader(io.StringIO(written.getvalue().decode()), delimiter="\t"))
    assert result.status == 0
    assert [row["nr"] for row in rows] == ["1", "2"]
    assert rows[0]["answer"] in CONTEXT
    assert "1 question answered." in result.err
    assert "Bad rows: 1;" in result.err


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1"])
def test_the_system_s_name_of_standard_output_is_standard_output(
    invoke: Invoke, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    piped(TABLE.encode(), monkeypatch)
    # A file, as with "> answers.csv": by the system's name it would be one that exists already.
    with (tmp_path / "answers.csv").open("w+", encoding="utf-8") as written:
        monkeypatch.setattr(sys, "stdout", written)
        result = invoke(
            *("ask", "--input", "/dev/stdin", "--output", name, "--url", served.rest_url),
            *("--question-column", "Frage", "--context-column", "Text"),
        )

    assert result.status == 0
    assert (tmp_path / "answers.csv").read_text(encoding="utf-8").count("\n") == 3
    assert "1 question answered." in result.err


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["--output", "-", "--json"], 2, "--json and the answers would both go to standard"),
        (["--json"], 2, "name a file with --output"),
        (["--output", "out.csv"], 1, "has no column question and no column context; its columns "),
        (["--output", "out.csv"], 1, "--question-column and --context-column"),
        (["--output", "out.csv", "--context-column", "QUESTION"], 2, "both in the column"),
        (["--output", "/nowhere/out.csv"], 2, "there is no directory /nowhere"),
    ],
)
def test_files_that_cannot_be_asked_are_named(
    invoke: Invoke,
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.tsv").write_text(TABLE)

    result = invoke("ask", "--input", "in.tsv", *arguments, "--url", served.rest_url)

    assert result.status == status
    assert expected in " ".join(result.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["in.tsv"]


def test_a_server_that_is_away_leaves_the_way_to_resume(
    invoke: Invoke, tmp_path: Path, free_port: int
) -> None:
    questions = tmp_path / "in.jsonl"
    questions.write_text(json.dumps({"question": QUESTION, "context": CONTEXT}) + "\n")

    result = invoke(
        *("ask", "--input", str(questions), "--output", str(tmp_path / "out.jsonl")),
        *("--url", f"http://127.0.0.1:{free_port}"),
    )

    assert result.status == 1
    assert "0 of 1 rows are done" in " ".join(result.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_context_does_not_command_the_terminal(invoke: Invoke, served: Served) -> None:
    context = f"{CONTEXT} \x1b]0;title\x07 \x1b[2J [red]Rouen[/] \u202eabc"

    result = invoke(
        "ask", QUESTION, "--context", context, "--top-k", "40", "--url", served.rest_url
    )

    assert result.status == 0
    assert r"\x1b]0;title\x07 \x1b[2J [red]Rouen[/] \u202eabc" in result.out
    assert not {"\x1b", "\x07", "\u202e"} & set(result.out)


def test_a_reader_that_has_enough_ends_the_run_quietly(served: Served, tmp_path: Path) -> None:
    questions = tmp_path / "in.jsonl"
    row = json.dumps({"question": QUESTION, "context": CONTEXT, "note": "x" * 9000})
    questions.write_text(f"{row}\n" * 200)
    command = [sys.executable, "-m", "bertqa_cli.main", "ask", "--input", str(questions)]

    ended = subprocess.run(
        ["sh", "-c", f"{shlex.join(command)} --output - --url {served.rest_url} | head -1"],
        capture_output=True,
        check=False,
    )

    assert json.loads(ended.stdout)["note"] == "x" * 9000
    assert b"Traceback" not in ended.stderr
    assert b"error" not in ended.stderr
