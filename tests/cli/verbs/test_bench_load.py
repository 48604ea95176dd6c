from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.load import Shape
from bertqa_cli.verbs.bench_load import _warn
from tests.cli.conftest import Invoke
from tests.client.load.test_stage import stage
from tests.support.engines import Served
from tests.support.models import write_toy_version
from tests.support.ports import free_port

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"
SHORT = ("--data", str(DATA), "--duration", "1s", "--warm-up", "0s", "--processes", "1")


def test_stages_are_measured_and_shown(invoke: Invoke, served: Served, tmp_path: Path) -> None:
    page = tmp_path / "load.html"
    command = ("bench", "load", "--url", served.rest_url, *SHORT)
    result = invoke(*command, "--rate", "10", "--at-once", "2", "--html", str(page), "--json")
    assert result.status == 0, result.err
    measured = json.loads(result.out)
    assert [(each["rate"], each["at_once"]) for each in measured["stages"]] == [
        (10, None),
        (None, 2),
    ]
    assert all(each["answered"] for each in measured["stages"])
    assert page.read_text("utf-8").count("<polyline") == 2


def test_two_versions_are_asked_in_turn(invoke: Invoke, served: Served) -> None:
    command = ("bench", "load", "--url", served.rest_url, *SHORT, "--at-once", "2")
    result = invoke(*command, "--version", "1", "--against", "2", "--rounds", "2")
    assert result.status == 0, result.err
    assert "version 2 has" in result.out
    assert "2 rounds in turn" in " ".join(result.out.split())


def test_all_stages_that_were_asked_late_have_one_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loads = [(10.0, 3.0), (20.0, 8.5), (20.0, 4.0), (40.0, 0.1)]
    _warn([stage(20.0, shape=Shape(rate=rate), late=late) for rate, late in loads])
    (line,) = (
        line
        for line in " ".join(capsys.readouterr().err.split()).split("warning: ")
        if "late" in line
    )
    assert line.startswith("at 10/s, 20/s questions were asked up to 8.5 ms late")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--find-rate", "--rate", "5"), "--find-rate chooses the rates itself"),
        (("--find-rate", "--against", "2"), "--find-rate chooses the rates itself"),
        (("--p99", "100ms"), "--p99 is for --find-rate"),
        (("--rounds", "3"), "--rounds is for --against"),
        (("--find-rate", "--p99", "0s"), "--p99 has to be above 0"),
        (("--speed", "2"), "--speed is for --from-log"),
        (("--from-log", str(DATA)), "--duration is for questions whose times are not those"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    invoke: Invoke, options: tuple[str, ...], complaint: str
) -> None:
    result = invoke("bench", "load", *SHORT, *options)
    assert result.status == 2
    assert complaint in result.err


def test_a_promise_that_no_rate_keeps_is_said_to_be_one(invoke: Invoke, served: Served) -> None:
    command = ("bench", "load", "--url", served.rest_url, *SHORT, "--find-rate", "--p99", "0.1ms")
    result = invoke(*command, "--json")
    assert result.status == 0, result.err
    found = json.loads(result.out)["found"]
    assert (found["questions_per_second"], found["asked"], found["confidence"]) == (0, 0, 0.99)
    assert found["lowest_rate"] > 0
    said = " ".join(invoke(*command).out.split())
    # A slow machine does not come to enough questions for any rate.
    assert "0.1 ms or less" in said or "No rate was tried" in said


def test_recorded_requests_are_asked_again_at_their_times(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    log = tmp_path / "answers.jsonl"
    answer = {"version": 1, "text": "a", "score": 0.5}
    log.write_text(
        "".join(
            json.dumps({"at": f"2026-11-02T09:00:0{at}+00:00", "question": "q", "answer": answer})
            + "\n"
            for at in range(3)
        ),
        "utf-8",
    )
    command = ("bench", "load", "--url", served.rest_url, "--from-log", str(log), "--speed", "10")
    result = invoke(*command, "--data", str(DATA), "--json")
    assert result.status == 0, result.err
    measured = json.loads(result.out)
    (stage,) = measured["stages"]
    assert (stage["asked"], stage["recorded_speed"]) == (3, 10)
    assert measured["from_log"] == str(log)
    refused = invoke(*command)
    assert refused.status == 1
    assert "Name questions to ask at their times with --data" in refused.err
    nothing = invoke("bench", "load", "--url", served.rest_url)
    assert nothing.status == 2
    assert "Name questions with --data" in nothing.err


def test_a_server_that_is_not_there_is_named(invoke: Invoke) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = invoke("bench", "load", *SHORT, "--url", url, "--timeout", "1s")
    assert result.status == 1
    assert "Cannot connect to" in result.err


def test_a_repository_is_served_for_it_and_stays_as_it_is(invoke: Invoke, tmp_path: Path) -> None:
    for version in (1, 2):
        write_toy_version(tmp_path, version)
    before = sorted(tmp_path.rglob("*"))
    command = ("bench", "load", "--repository", str(tmp_path), *SHORT, "--at-once", "1")
    result = invoke(*command, "--version", "1", "--against", "2", "--rounds", "2", "--json")
    assert result.status == 0, result.err
    measured = json.loads(result.out)
    assert measured["target"].startswith(str(tmp_path))
    assert len(measured["comparisons"][0]["rounds"]) == 2
    assert sorted(tmp_path.rglob("*")) == before
    refused = invoke(*command, "--url", "localhost:9000")
    assert refused.status == 2
    assert "--url is for a server that runs, and --repository starts one" in refused.err
    absent = invoke(*command, "--version", "7")
    assert absent.status == 1
    assert "7" in absent.err
