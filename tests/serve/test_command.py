"""The command lines of the engines, and that OVMS knows every flag in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from bertqa_serve.command import (
    CONTAINER_IMAGE,
    Engine,
    EngineKind,
    Listening,
    command_line,
    known_flags,
    server_flags,
    unknown_flags,
)
from bertqa_serve.engine.flags import parse

PROJECT = Path(__file__).parents[2]
LISTENING = Listening(Path("/models/config.json"), 9000, 8000)
# The flags of ovms are written with underscores, or are one of these.
OVMS_FLAG = re.compile(r"(?<![\w-])--((?:[a-z]+_)+[a-z]+|port|nireq|shape|layout)(?![\w-])")


def test_ovms_gets_ports_addresses_streams_metrics_and_log_level() -> None:
    command = command_line(Engine(EngineKind.OVMS, Path("/opt/ovms"), ""), LISTENING)
    assert command == [
        "/opt/ovms",
        *("--config_path", "/models/config.json"),
        *("--port", "9000"),
        *("--rest_port", "8000"),
        *("--grpc_bind_address", "127.0.0.1"),
        *("--rest_bind_address", "127.0.0.1"),
        *("--grpc_channel_arguments", "grpc.max_concurrent_streams=1000"),
        *("--grpc_max_threads", "1024"),
        "--metrics_enable",
        *("--log_level", "INFO"),
    ]


def test_a_container_is_published_on_the_address_and_sees_the_repository_at_its_path() -> None:
    engine = Engine(EngineKind.CONTAINER, Path("/usr/bin/podman"), "", "openvino/model_server:x")
    command = command_line(engine, LISTENING)
    before, after = command[: command.index(engine.image)], command[command.index(engine.image) :]
    assert before[:2] == ["/usr/bin/podman", "run"]
    assert "127.0.0.1:9000:9000" in before
    assert "127.0.0.1:8000:8000" in before
    assert "/models:/models:ro,z" in before
    assert after[after.index("--grpc_bind_address") + 1] == "0.0.0.0"


def test_a_container_is_published_on_an_ipv6_address_in_brackets() -> None:
    engine = Engine(EngineKind.CONTAINER, Path("/usr/bin/docker"), "")
    command = command_line(engine, replace(LISTENING, host="::1"))
    assert "[::1]:9000:9000" in command
    assert "[::1]:8000:8000" in command


def test_the_container_s_image_is_of_a_version_whose_flags_are_known() -> None:
    _, _, tag = CONTAINER_IMAGE.rpartition(":")
    assert any(tag.startswith(version.split()[0]) for version in known_flags())


def test_the_local_engine_takes_the_same_flags() -> None:
    options = parse(server_flags(LISTENING))
    assert (options.port, options.rest_port) == (9000, 8000)
    assert options.metrics_enable


def test_a_flag_that_a_supported_version_lacks_is_found() -> None:
    assert unknown_flags(["--verbose_response", "--stateful=1", "--port", "1"]) == {
        "2026.2.1": ["verbose_response"],
        "2026.3": ["stateful"],
        "2026.4 (main, 2026-08-21)": ["stateful"],
    }
    assert len(known_flags()) == 3


def test_supported_versions_of_ovms_know_every_flag_that_is_rendered_here() -> None:
    for kind in EngineKind:
        command = command_line(Engine(kind, Path("program"), ""), LISTENING)
        flags = command[command.index("--config_path") :]
        assert not unknown_flags(flags)


def test_supported_versions_of_ovms_know_every_flag_that_is_rendered_for_deployment() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted((PROJECT / "deploy").rglob("*")):
        if path.suffix in (".tpl", ".yaml", ".yml", ".json", ".py", ".sh") and path.is_file():
            for flag in OVMS_FLAG.findall(path.read_text(encoding="utf-8")):
                found.setdefault(flag, []).append(str(path.relative_to(PROJECT)))
    assert {"config_path", "port", "rest_port"} <= found.keys()
    unknown = unknown_flags([f"--{flag}" for flag in found])
    places = {flag: found[flag] for flags in unknown.values() for flag in flags}
    assert not unknown, json.dumps(places, indent=1)
