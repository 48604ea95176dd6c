"""Starting, watching and ending servers, with the local engine as what is started."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import httpx
import pytest

from bertqa.artifact import plugin_config, usable_cores
from bertqa.errors import InvalidOptionError, ModelLoadError, RepositoryError
from bertqa_serve.command import CONTAINER_IMAGE, EngineKind
from bertqa_serve.errors import (
    EngineNotFoundError,
    PortInUseError,
    ServerDiedError,
)
from bertqa_serve.launcher import dry_run, running
from bertqa_serve.options import ServeOptions
from bertqa_serve.selection import choose_engine
from tests.support.models import write_config, write_toy_version
from tests.support.ports import free_port

MODELS = Path(__file__).parent / "ovms" / "models"
ENGINE = f'exec {sys.executable} -m bertqa_serve.engine "$@"'


def program(path: Path, script: str) -> Path:
    """A program that stands where `ovms` or `docker` would and runs the local engine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def options(repository: Path, **changes: object) -> ServeOptions:
    settings: dict[str, object] = {
        "repository": repository,
        "engine": "local",
        "port": free_port(),
        "rest_port": free_port(),
        **changes,
    }
    return ServeOptions(**settings)  # type: ignore[arg-type]


def nothing(_: str) -> None:
    pass


def test_without_ovms_and_containers_the_local_engine_is_chosen() -> None:
    engine = choose_engine(environment={"PATH": ""})
    assert engine.kind is EngineKind.LOCAL
    assert "neither" in engine.reason


def test_ovms_is_found_by_argument_by_variable_and_on_the_path(tmp_path: Path) -> None:
    ovms = program(tmp_path / "bin" / "ovms", ENGINE)
    by_argument = choose_engine("auto", ovms, {"PATH": ""})
    by_variable = choose_engine("auto", None, {"PATH": "", "OVMS_BINARY": str(ovms)})
    on_path = choose_engine("auto", None, {"PATH": str(ovms.parent)})
    for engine in (by_argument, by_variable, on_path):
        assert (engine.kind, engine.program) == (EngineKind.OVMS, ovms)
    assert len({by_argument.reason, by_variable.reason, on_path.reason}) == 3


def test_a_container_is_chosen_where_its_image_is(tmp_path: Path) -> None:
    docker = program(tmp_path / "docker", f'test "$3" = {CONTAINER_IMAGE}')
    environment = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    engine = choose_engine("auto", None, environment)
    assert (engine.kind, engine.program) == (EngineKind.CONTAINER, docker)
    with pytest.raises(EngineNotFoundError, match="other:1"):
        choose_engine("container", None, environment, image="other:1")


@pytest.mark.parametrize("kind", ["ovms", "container", "nonsense"])
def test_an_engine_that_is_not_there_is_named(kind: str) -> None:
    with pytest.raises(EngineNotFoundError, match=kind.replace("container", "docker")):
        choose_engine(kind, None, {"PATH": ""})


def test_a_path_that_is_not_a_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineNotFoundError, match=str(tmp_path)):
        choose_engine("auto", tmp_path, {"PATH": ""})


@pytest.mark.parametrize("host", ["", " ", "a b", "[::1]", "::1::", "a..b", "-\n", "127.0.0.1:80"])
def test_a_host_that_is_neither_an_address_nor_a_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"host is .*without brackets"):
        ServeOptions(Path("nowhere"), host=host)


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        (("model_repository",), "'model_repository' is not an option of ovms"),
        (("--port", "9100"), "use --port of `bert-qa serve`"),
        (("--rest_bind_address=::",), "use --host"),
    ],
)
def test_options_of_ovms_that_cannot_be_passed_on_are_refused(
    own: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(InvalidOptionError, match=complaint):
        ServeOptions(Path(), own=own)


def test_an_option_of_a_users_own_reaches_the_server(repository: Path) -> None:
    with running(options(repository, own=("--log_level", "ERROR")), log=nothing) as server:
        assert server.process.args[-2:] == ["--log_level", "ERROR"]  # type: ignore[index]


def test_a_program_that_only_ends_is_named(repository: Path, tmp_path: Path) -> None:
    silent = program(tmp_path / "ovms", "exit 0")
    with (
        pytest.raises(ServerDiedError, match=r"It wrote nothing: is .*ovms the program"),
        running(options(repository, engine="ovms", ovms_path=silent), log=nothing),
    ):
        pass


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost", "node-1.example"])
def test_addresses_and_names_are_hosts(host: str) -> None:
    assert ServeOptions(Path("nowhere"), host=host).host == host


def test_a_dry_run_returns_the_command_and_touches_nothing(repository: Path) -> None:
    command = dry_run(options(repository, port=9000, rest_port=8000))
    assert command[:3] == [sys.executable, "-m", "bertqa_serve.engine"]
    assert command[command.index("--config_path") + 1] == str(repository / "config.json")
    assert not (repository / "config.json").exists()


# What an `ovms` of years ago knew, in the form of its help.
OLD_HELP = """OpenVINO Model Server
Usage:
  ovms [OPTION...]

  -h, --help                 Show this help message and exit
      --version              Show binary version
      --port PORT            gRPC server port (default: 9178)
      --grpc_bind_address GRPC_BIND_ADDRESS
                             Network interface address to bind to, unlike
                             --rest_workers (default: 0.0.0.0)
      --rest_port REST_PORT  REST server port
      --rest_bind_address REST_BIND_ADDRESS
      --grpc_channel_arguments GRPC_CHANNEL_ARGUMENTS
      --log_level LOG_LEVEL  serving log level
      --file_system_poll_wait_seconds SECONDS
      --metrics_enable       Flag enabling metrics endpoint on rest_port.

 multi model options:
      --config_path CONFIG_PATH
                             Absolute path to json configuration file
"""


def helpful(path: Path, help_text: str, otherwise: str) -> Path:
    """A program that prints a help text when it is asked, and does something else otherwise."""
    text = path.with_suffix(".txt")
    text.write_text(help_text, encoding="utf-8")
    return program(path, f'if [ "$1" = --help ]; then cat {text}; exit 127; fi; {otherwise}')


def test_what_an_older_ovms_does_not_know_is_left_out_and_said_in_one_line(
    repository: Path, tmp_path: Path
) -> None:
    refuses = "for a; do case $a in --grpc_max_threads*|--rest_workers*) exit 64;; esac; done; "
    old = helpful(tmp_path / "ovms", OLD_HELP, refuses + ENGINE)
    chosen = options(repository, engine="ovms", ovms_path=old, warm_up=False)
    lines: list[str] = []
    with running(chosen, log=lines.append) as server:
        assert httpx.get(f"{server.rest_url}/v2/models/bert-qa/ready").status_code == 200
    said = "ovms does not know --grpc_max_threads, --rest_workers: left out, so its own defaults "
    assert [line for line in lines if "does not know" in line] == [f"{said}hold."]


@pytest.mark.parametrize("said", ["", "Usage: something else [--port PORT]\n"])
def test_a_program_that_says_nothing_of_use_gets_all_options(
    repository: Path, tmp_path: Path, said: str
) -> None:
    silent = helpful(tmp_path / "ovms", said, ENGINE)
    lines: list[str] = []
    command = dry_run(options(repository, engine="ovms", ovms_path=silent), log=lines.append)
    assert {"--grpc_max_threads", "--rest_workers", "--metrics_enable"} <= set(command)
    assert lines == []


@pytest.mark.parametrize(
    ("given", "option", "value"),
    [
        ({"grpc_threads": 2000}, "--grpc_max_threads", "2000"),
        ({"concurrent_streams": 9}, "--grpc_channel_arguments", "grpc.max_concurrent_streams=9,"),
        ({"rest_workers": 99}, "--rest_workers", "99"),
        ({"poll_seconds": 0}, "--file_system_poll_wait_seconds", "0"),
        ({"log_level": "ERROR"}, "--log_level", "ERROR"),
    ],
)
def test_every_setting_reaches_the_command_line(
    repository: Path, given: dict[str, object], option: str, value: str
) -> None:
    lines: list[str] = []
    command = dry_run(options(repository, **given), log=lines.append)
    assert command[command.index(option) + 1].startswith(value)
    assert lines == []


def test_given_threads_and_streams_reach_the_server_through_its_configuration(
    repository: Path,
) -> None:
    chosen = options(repository, threads=3, streams=2, warm_up=False)
    with running(chosen, log=nothing):
        config = (repository / "config.json").read_text(encoding="utf-8")
    (entry,) = json.loads(config)["model_config_list"]
    given = {"INFERENCE_NUM_THREADS": "3", "NUM_STREAMS": "2"}
    assert entry["config"]["plugin_config"] == {**plugin_config(1), **given}


def test_a_given_precision_is_added_to_the_properties_that_are_there(repository: Path) -> None:
    path = write_config(repository)
    content = json.loads(path.read_text(encoding="utf-8"))
    own = {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "2"}  # Not what any machine gets.
    content["model_config_list"][0]["config"]["plugin_config"] = own
    path.write_text(json.dumps(content), encoding="utf-8")
    with running(options(repository, precision="f32", warm_up=False), log=nothing):
        config = path.read_text(encoding="utf-8")
    (entry,) = json.loads(config)["model_config_list"]
    assert entry["config"]["plugin_config"] == {**own, "INFERENCE_PRECISION_HINT": "f32"}


def test_settings_that_contradict_each_other_are_said_once(repository: Path) -> None:
    path = write_config(repository)
    content = json.loads(path.read_text(encoding="utf-8"))
    (entry,) = content["model_config_list"]
    entry["config"]["plugin_config"] = {"NUM_STREAMS": "2", "PERFORMANCE_HINT": "LATENCY"}
    twin = {"config": {**entry["config"], "name": "bert-qa-traffic"}}
    path.write_text(json.dumps({"model_config_list": [entry, twin]}), encoding="utf-8")
    lines: list[str] = []
    dry_run(options(repository, grpc_threads=8, concurrent_streams=9), log=lines.append)
    refused, ignored = lines
    assert refused.startswith("grpc_max_threads (8) is not above grpc.max_concurrent_streams (9): ")
    assert ignored == "PERFORMANCE_HINT (LATENCY) has no effect beside NUM_STREAMS (2)."


def test_a_dry_run_says_what_contradicts_the_streams_that_the_server_would_have(
    repository: Path,
) -> None:
    path = write_config(repository)
    content = json.loads(path.read_text(encoding="utf-8"))
    (entry,) = content["model_config_list"]
    entry["config"]["plugin_config"] = {"NUM_STREAMS": "16", "PERFORMANCE_HINT": "LATENCY"}
    path.write_text(json.dumps(content), encoding="utf-8")
    lines: list[str] = []
    dry_run(options(repository, threads=2, streams=2, rest_workers=16), log=lines.append)
    assert lines == ["PERFORMANCE_HINT (LATENCY) has no effect beside NUM_STREAMS (2)."]


def test_a_server_is_ready_and_warm_inside_the_block_and_gone_after_it(repository: Path) -> None:
    lines: list[str] = []
    with running(options(repository), log=lines.append) as server:
        assert httpx.get(f"{server.rest_url}/v2/models/bert-qa/ready").status_code == 200
        metrics = httpx.get(f"{server.rest_url}/metrics").text
        streams = int(plugin_config(usable_cores())["NUM_STREAMS"])
        for version in (1, 2):
            series = f'method="ModelInfer",name="bert-qa",version="{version}"}} '
            assert f"{series}{streams * len((32, 64, 80))}" in metrics
    assert server.process.returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.rest_url}/v2")
    assert any("local" in line for line in lines)
    assert any("for development" in line for line in lines)


def test_a_real_ovms_gets_the_same_treatment(repository: Path, tmp_path: Path) -> None:
    ovms = program(tmp_path / "ovms", ENGINE)
    chosen = options(repository, engine="ovms", ovms_path=ovms, warm_up=False)
    with running(chosen, log=nothing) as server:
        assert server.engine.kind is EngineKind.OVMS
        assert httpx.get(f"{server.rest_url}/v2/models/bert-qa").json()["versions"] == ["1", "2"]


def test_a_server_is_ready_when_all_its_versions_are_and_not_with_the_first(tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    shutil.copytree(MODELS / "slowload" / "1", tmp_path / "bert-qa" / "2")
    with running(options(tmp_path, warm_up=False), log=nothing) as server:
        assert httpx.get(f"{server.rest_url}/v2/models/bert-qa").json()["versions"] == ["1", "2"]


def test_a_broken_model_is_named_with_the_server_s_error(tmp_path: Path) -> None:
    directory = tmp_path / "bert-qa" / "3"
    directory.mkdir(parents=True)
    (directory / "model.xml").write_text("<net", encoding="utf-8")
    with (
        pytest.raises(ModelLoadError, match="tried: 3") as raised,
        running(options(tmp_path), log=nothing),
    ):
        pass
    assert str(directory) in (raised.value.detail or "")


def test_a_configuration_without_the_model_is_named(repository: Path) -> None:
    write_config(repository)
    wanted, lines = options(repository, model="other"), list[str]()
    with (
        pytest.raises(RepositoryError, match=r"no other \(it has: bert-qa\)"),
        running(wanted, log=lines.append),
    ):
        pass
    assert lines == []  # No server was started to find out.


def test_a_port_in_use_is_named_before_anything_is_started(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for changes in ({"port": port}, {"rest_port": port}):
            with (
                pytest.raises(PortInUseError, match=str(port)),
                running(options(repository, **changes), log=nothing),
            ):
                pass
