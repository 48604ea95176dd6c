"""The engine's command line: the flags of ovms, and a clear refusal of the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa.errors import ConfigError
from bertqa_serve.command import known_flags
from bertqa_serve.engine.__main__ import EXIT_FAILED, EXIT_USAGE, main
from bertqa_serve.engine.flags import parse, parser, server_from
from bertqa_serve.errors import UsageError

OWN = {"help", "tensorflow_serving_api"}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Running the program configures logging for its process, which is this one."""
    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before


def test_every_flag_is_one_that_ovms_has() -> None:
    flags = {
        option.removeprefix("--")
        for action in parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    for version, known in known_flags().items():
        assert flags - OWN <= known, version


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "1"], "config_path"),
        (["--model_name", "m"], "go together"),
        (["--config_path", "c", "--model_name", "m", "--model_path", "p"], "either"),
        (["--config_path", "c", "--nireq", "2"], "model_path only"),
        (["--config_path", "c", "--metrics_enable"], "rest_port"),
        (["--config_path", "c", "--rest_port", "0", "--metrics_list", "x"], "metrics_enable"),
        (["--config_path", "c", "--grpc_channel_arguments", "x"], "no value for x"),
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
        (["--log_level", "LOUD"], "LOUD"),
        (["--plugin_config", "{"], "is not valid JSON"),
        (["--conf", "c"], "conf"),
    ],
)
def test_what_the_engine_does_not_have_is_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == EXIT_USAGE
    assert expected in capsys.readouterr().err


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
