"""The engine's command line: the flags of ovms, and a clear refusal of the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa.errors import ConfigError
from bertqa_serve.command import known_flags
from bertqa_serve.engine import flags, limits
from bertqa_serve.engine.__main__ import EXIT_FAILED, EXIT_USAGE, main
from bertqa_serve.engine.flags import parse, parser, server_from
from bertqa_serve.errors import UsageError

OWN = {"help", "tensorflow_serving_api"}
METRICS = ["--config_path", "c", "--rest_port", "0", "--metrics_enable"]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Running the program configures logging for its process, which is this one."""
    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before


def test_every_flag_is_one_that_ovms_has() -> None:
    names = {
        option.removeprefix("--")
        for action in parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    for version, known in known_flags().items():
        assert names - OWN <= known, version


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "1"], "config_path"),
        (["--model_name", "m"], "go together"),
        (["--config_path", "c", "--model_name", "m", "--model_path", "p"], "either"),
        (["--config_path", "c", "--nireq", "2"], "model_path only"),
        (["--config_path", "c", "--metrics_enable"], "rest_port"),
        (["--config_path", "c", "--rest_port", "0", "--metrics_list", "x"], "metrics_enable"),
        (["--config_path", "c", "--rest_workers", "2"], "rest_port is required to start rest"),
        (["--config_path", "c", "--rest_workers", "10001"], "count should be from 2 to 10000"),
        (["--config_path", "c", "--port", "65536"], "^port number out of range from 0 to 65535"),
        (["--config_path", "c", "--rest_port", "65536"], "^rest_port number out of range"),
        (["--config_path", "c", "--port", "7", "--rest_port", "7"], "cannot have the same values"),
        (["--model_name", "m", "--model_path", "p", "--nireq", "-1"], "nireq"),
    ],
)
def test_wrong_combinations_are_refused(arguments: list[str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        server_from(parse(arguments))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--grpc_workers", "2", "--config_path", "c"], "grpc_workers"),
        (["--api_key_file", "x"], "api_key_file"),
        (["--port", "many"], "many"),
        (["--rest_workers", "-1"], "error parsing options: Argument ‘-1’ failed to parse"),
        (["--grpc_max_threads", "4294967296"], "Argument ‘4294967296’ failed to parse"),
        (["--file_system_poll_wait_seconds", "-1"], "Argument ‘-1’ failed to parse"),
        (["--file_system_poll_wait_seconds", "nan"], "Argument ‘nan’ failed to parse"),
        (["--log_level", "LOUD"], "LOUD"),
        (["--log_level", "info"], "info"),
        (["--plugin_config", "{"], "is not valid JSON"),
        (["--conf", "c"], "conf"),
    ],
)
def test_what_the_engine_does_not_have_is_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == EXIT_USAGE
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("text", ["x", "a=1=2", "a=", "a=5,x", ",", "a=1,,b=2", " "])
def test_channel_arguments_in_a_wrong_format_are_refused_in_ovms_words(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config_path", "c", "--grpc_channel_arguments", text]) == EXIT_FAILED
    assert f"Grpc channel arguments passed in wrong format - {text}" in capsys.readouterr().err


def test_channel_arguments_are_read_as_ovms_reads_them(caplog: pytest.LogCaptureFixture) -> None:
    arguments = " grpc.a = 5 ,grpc.b=7ms,grpc.c=name,grpc.d=99999999999,"
    options = parse([*METRICS, "--grpc_channel_arguments", arguments])
    found = server_from(options)._grpc_arguments
    wanted = {"grpc.a": 5, "grpc.b": 7, "grpc.c": "name"}
    assert {
        name: value for name, value in found.items() if name in "grpc.a grpc.b grpc.c"
    } == wanted
    assert "grpc.d" not in found
    assert "Out of range parameter grpc.d : 99999999999" in caplog.text


def test_rest_workers_are_bounded_by_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "open_files_limit", lambda: 1024)
    monkeypatch.setattr(flags, "open_files_limit", lambda: 1024)
    arguments = [*METRICS, "--rest_workers"]
    server_from(parse([*arguments, "168"]))
    told = "count cannot be larger than 168 due to open files limit. Current open files limit: 1024"
    with pytest.raises(UsageError, match=told):
        server_from(parse([*arguments, "169"]))


def test_an_unknown_metric_is_named() -> None:
    arguments = [
        "--config_path",
        "c",
        "--rest_port",
        "0",
        "--metrics_enable",
        "--metrics_list",
        "x",
    ]
    with pytest.raises(ConfigError, match="no metric x"):
        server_from(parse(arguments))


def test_a_missing_configuration_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config_path", str(tmp_path / "config.json")]) == EXIT_FAILED
    printed = capsys.readouterr().err
    assert str(tmp_path) in printed
    assert "Traceback" not in printed


def test_without_arguments_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "--config_path" in capsys.readouterr().out
