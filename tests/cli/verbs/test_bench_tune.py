from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.artifact import plugin_config, usable_cores
from bertqa_serve.tuned import read_tuned, this_machine
from tests.cli.conftest import Invoke, serving
from tests.support.models import write_toy_version
from tests.support.ports import free_port

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"
SHORT = ("--data", str(DATA), "--engine", "local", "--duration", "200ms", "--rounds", "3")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "model_repository"
    for version in (1, 2):
        write_toy_version(root, version)
    return root


@pytest.mark.thorough
def test_what_is_fastest_is_measured_shown_and_written_for_serve(
    invoke: Invoke, repository: Path, tmp_path: Path
) -> None:
    file = tmp_path / "tuned.yaml"
    command = ("bench", "tune", "--repository", str(repository), *SHORT, "--at-once", "2")
    result = invoke(*command, "--version", "1", "--version", "2", "--write", str(file), "--json")
    assert result.status == 0, result.err
    measured = json.loads(result.out)
    assert measured["default"]["version"] == 2
    assert measured["chosen"] in (measured["best"], measured["default"])
    assert {each["settings"]["version"] for each in measured["races"][0]} == {1, 2}
    found, chosen = read_tuned(file), measured["chosen"]
    assert found.made_for == this_machine()
    assert (found.threads, found.streams) == (chosen["threads"], chosen["streams"])
    assert (found.precision, found.token_budget) == (chosen["precision"], chosen["token_budget"])
    assert not (repository / "config.json").exists()
    comments = file.read_text(encoding="utf-8")
    assert f"of version {chosen['version']}" in comments
    assert str(DATA) in comments
    assert "(race 1 of " in result.err
    assert "turn 2 of" in result.err
    assert ("Not decided: measure longer" in comments) is not measured["is_decided"]


@pytest.mark.parametrize(
    ("options", "status", "complaint"),
    [
        (("--p99", "0s"), 2, "--p99 has to be above 0"),
        (("--duration", "0s"), 2, "--duration has to be above 0"),
        (("--rounds", "2"), 2, "2 is not in the range"),
        (("--version", "9"), 1, "no version 9"),
        (("--model", "other"), 1, "has no version of other"),
        (("--write", "absent/tuned.yaml"), 2, "absent"),
        (("--engine", "container"), 2, "container"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_any_server_starts(
    invoke: Invoke, repository: Path, options: tuple[str, ...], status: int, complaint: str
) -> None:
    result = invoke("bench", "tune", "--repository", str(repository), *SHORT, *options)
    assert result.status == status
    assert complaint in " ".join(result.err.split())
    assert "Starting" not in result.err


def test_a_repository_that_is_not_there_is_named(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("bench", "tune", "--repository", str(tmp_path / "absent"), *SHORT)
    assert result.status == 1
    assert "There is no model repository" in result.err


def test_serve_takes_what_was_measured_where_nothing_is_typed(
    repository: Path, tmp_path: Path
) -> None:
    file = tmp_path / "tuned.yaml"
    file.write_text("server: {threads: 3, streams: 3, precision: f32}\n", encoding="utf-8")
    options = ("--engine", "local", "--repository", str(repository), "--no-warm-up")
    ports = ("--port", str(free_port()), "--rest-port", str(free_port()), "--no-http-api")
    with serving(*options, *ports, "--tuned", str(file), "--streams", "2", seconds=30):
        (entry,) = json.loads((repository / "config.json").read_text())["model_config_list"]
    assert entry["config"]["plugin_config"] == {
        "INFERENCE_NUM_THREADS": "3",
        "NUM_STREAMS": "2",
        "ENABLE_CPU_PINNING": "NO",
        "INFERENCE_PRECISION_HINT": "f32",
    }


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        (
            "server: {threads: 2, streams: 2, precision: f32}\nhttpApi: {tokenBudget: 4096}\n",
            (),
            (
                "2 threads, 2 streams, f32, 4096 tokens in a request; the first three are written "
                "into config.json and stay"
            ),
        ),
        (
            "server: {threads: 2, streams: 1}\nhttpApi: {tokenBudget: 4096}\n",
            ("--threads", "1", "--no-http-api"),
            "1 stream; all of it is written into config.json and stays",
        ),
        ("httpApi: {tokenBudget: 4096}\n", (), "4096 tokens in a request"),
        ("server: {threads: 2}\n", ("--threads", "1"), "nothing"),
    ],
)
def test_serve_says_what_it_takes_from_the_file(
    invoke: Invoke,
    repository: Path,
    tmp_path: Path,
    text: str,
    options: tuple[str, ...],
    line: str,
) -> None:
    file = tmp_path / "tuned.yaml"
    file.write_text(text, encoding="utf-8")
    served = ("serve", "--repository", str(repository), "--engine", "local", "--dry-run")
    result = invoke(*served, "--tuned", str(file), *options)
    assert result.status == 0
    assert f"from {file}: {line}\n" in result.err
    assert not (repository / "config.json").exists()


def test_without_plugin_config_a_plain_serve_writes_that_of_the_machine_again(
    repository: Path, tmp_path: Path
) -> None:
    """The way back that docs/load.md names."""
    file, config = tmp_path / "tuned.yaml", repository / "config.json"
    file.write_text("server: {threads: 3, streams: 1, precision: f32}\n", encoding="utf-8")

    def served(*tuned: str) -> dict[str, str]:
        ports = ("--port", str(free_port()), "--rest-port", str(free_port()), "--no-http-api")
        options = ("--engine", "local", "--repository", str(repository), "--no-warm-up")
        with serving(*options, *ports, *tuned, seconds=30):
            (entry,) = json.loads(config.read_text())["model_config_list"]
        return dict(entry["config"]["plugin_config"])

    written = served("--tuned", str(file))
    assert served() == written
    content = json.loads(config.read_text())
    del content["model_config_list"][0]["config"]["plugin_config"]
    config.write_text(json.dumps(content), encoding="utf-8")
    assert served() == plugin_config(usable_cores())


def test_serve_warns_of_settings_for_another_machine(
    invoke: Invoke, repository: Path, tmp_path: Path
) -> None:
    file = tmp_path / "tuned.yaml"
    file.write_text("# CPU: Xeon 9\nserver: {streams: 2}\n", encoding="utf-8")
    served = ("serve", "--repository", str(repository), "--engine", "local", "--dry-run")
    result = invoke(*served, "--tuned", str(file))
    assert result.status == 0
    assert "measured on another machine (Xeon 9)" in " ".join(result.err.split())


def test_the_http_api_takes_the_tokens_of_a_request() -> None:
    from bertqa_cli.http_api import HttpApiFlags
    from bertqa_serve.tuned import TunedSettings

    measured = TunedSettings(token_budget=4096)
    assert HttpApiFlags().tuned_by(measured).options({}).client["token_budget"] == 4096
    typed = HttpApiFlags(token_budget=512)
    assert typed.tuned_by(measured).options({}).client["token_budget"] == 512
    assert "token_budget" not in HttpApiFlags().tuned_by(TunedSettings()).options({}).client
