"""`bert-qa switch --status`, which shows where a rollout stands and changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.certificates import Authority
from tests.support.engines import Served, toy_server
from tests.support.gates import pipe_to, tcp_server

SMOKE = ["--smoke-question", "When?", "--smoke-context", "1932", "--smoke-answer", "1932"]
HELD = ["--steps", "10,100", "--pause", "0.5s", "--interval", "0.2s"]


@pytest.fixture
def at_1(engine: str, tmp_path: Path) -> Iterator[Served]:
    policy = {"specific": {"versions": [1]}}
    with toy_server(engine, tmp_path / "repository", 1, 2, policy=policy) as server:
        yield server


def test_its_warning_names_options_as_they_are_typed(
    invoke: Invoke, at_1: Served, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with tcp_server(pipe_to(at_1.rest_port), authority.context(alpn="http/1.1")) as port:
        url = f"https://localhost:{port}"
        arguments = ("switch", "--status", "--repository", str(at_1.repository), "--url", url)
        assert "pass the certificate of its authority as --ca." in invoke(*arguments).err
        (warning,) = json.loads(invoke(*arguments, "--json").out)["warnings"]
    assert warning.endswith("as --ca.")


def files(served: Served) -> dict[Path, int]:
    return {each: each.stat().st_mtime_ns for each in served.repository.rglob("*")}


def test_it_shows_where_a_rollout_stands_and_changes_nothing(invoke: Invoke, at_1: Served) -> None:
    where = ["--repository", str(at_1.repository), "--url", at_1.rest_url]
    status = ["switch", "--status", *where]
    before = files(at_1)
    first = invoke(*status, "--json")
    assert (first.status, first.err) == (0, "")
    document = json.loads(first.out)
    assert (document["phase"], document["split"]) == ("complete", {"1": 100.0})
    assert (document["served"], document["goal"], document["previous"]) == ([1], None, None)
    assert files(at_1) == before

    held = invoke("switch", "--to", "2", *HELD, *SMOKE, *where)
    assert "Held at 1=90,2=10" in held.err
    before = files(at_1)

    document = json.loads(invoke(*status, "--json").out)
    assert (document["phase"], document["split"]) == ("held", {"1": 90.0, "2": 10.0})
    assert (document["goal"], document["previous"]) == ({"2": 100.0}, {"1": 100.0})
    assert "got 0 of at least 20 requests" in document["held_reason"]
    assert (document["served"], document["warnings"]) == ([1, 2], [])

    shown = invoke(*status).out
    assert "is 1=90,2=10. Served: 1, 2." in shown
    assert "A rollout from 1=100 to 2=100 is under way" in shown
    assert "It was held: " in shown
    assert "--back returns to 1=100." in shown
    assert files(at_1) == before

    at_1.stop()
    away = invoke(*status, "--timeout", "1")
    assert away.status == 0
    assert "is 1=90,2=10. Served: not known." in away.out
    assert "What is served is not known" in away.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["switch", "--status", "--to", "2"],
        ["switch", "--status", "--pause", "1m"],
        ["switch", "--status", "--release", "bert-qa", "--in-cluster"],
        ["switch", "--status", "--release", "bert-qa", "--back"],
        ["azureml", "switch", "--status", "--mirror", "2=10"],
        ["azureml", "switch", "--status", "--steps", "10,100"],
    ],
)
def test_what_would_change_something_is_refused(invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert (result.status, result.out) == (2, "")
    assert "is for a switch, and --status changes nothing" in result.err


def test_a_repository_that_is_not_there_is_named(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("switch", "--status", "--repository", str(tmp_path / "nowhere"))
    assert result.status == 1
    assert "nowhere/config.json" in result.err
