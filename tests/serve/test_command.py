"""The command lines of the engines, and that OVMS knows every flag in them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bertqa.artifact import server_settings
from bertqa_serve import command as module
from bertqa_serve.command import (
    CONTAINER_IMAGE,
    Engine,
    EngineKind,
    Listening,
    command_line,
    known_flags,
    unknown_flags,
    unknown_to,
)
from bertqa_serve.engine.flags import parse

PROJECT = Path(__file__).parents[2]
SETTINGS = server_settings(4)
LISTENING = Listening(Path("/models/config.json"), 9000, 8000, SETTINGS)
# The flags of ovms are written with underscores, or are one of these.
OVMS_FLAG = re.compile(r"(?<![\w-])--((?:[a-z]+_)+[a-z]+|port|nireq|shape|layout)(?![\w-])")


def test_ovms_gets_ports_addresses_settings_and_metrics() -> None:
    command = command_line(Engine(EngineKind.OVMS, Path("/opt/ovms"), ""), LISTENING)
    assert command == [
        "/opt/ovms",
        *("--config_path", "/models/config.json"),
        *("--port", "9000"),
        *("--rest_port", "8000"),
        *("--grpc_bind_address", "127.0.0.1"),
        *("--rest_bind_address", "127.0.0.1"),
        *("--grpc_max_threads", "1024"),
        *("--grpc_channel_arguments", SETTINGS.flags()["grpc_channel_arguments"]),
        *("--rest_workers", "128"),
        *("--file_system_poll_wait_seconds", "1"),
        *("--log_level", "INFO"),
        "--metrics_enable",
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
    command = command_line(Engine(EngineKind.LOCAL, Path("python"), ""), LISTENING)
    options = parse(command[command.index("bertqa_serve.engine") + 1 :])
    assert (options.port, options.rest_port) == (9000, 8000)
    assert options.metrics_enable


def test_options_that_an_engine_does_not_know_are_left_out_with_their_values() -> None:
    engine = Engine(EngineKind.OVMS, Path("/opt/ovms"), "")
    whole = command_line(engine, LISTENING)
    position = whole.index("--rest_workers")
    del whole[position : position + 2]
    whole.remove("--metrics_enable")
    assert command_line(engine, LISTENING, ["rest_workers", "metrics_enable"]) == whole


@pytest.mark.parametrize(
    ("tag", "lacking"),
    [("2026.2.1", []), ("2026.3-gpu", ["log_level"]), ("2026.31", []), ("latest", [])],
)
def test_an_image_is_known_by_the_version_in_its_tag(
    tag: str, lacking: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(known_flags())
    known["2026.3"] -= {"log_level"}
    monkeypatch.setattr(module, "known_flags", lambda: known)
    image = f"registry.example:5000/openvino/model_server:{tag}"
    engine = Engine(EngineKind.CONTAINER, Path("/usr/bin/podman"), "", image)
    assert unknown_to(engine, LISTENING) == lacking


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


def test_options_of_a_users_own_come_last_and_take_the_place_of_ours() -> None:
    listening = replace(LISTENING, own=("--grpc_memory_quota", "100", "--rest_workers=7"))

    command = command_line(Engine(EngineKind.OVMS, Path("/opt/ovms"), ""), listening)

    assert command[-3:] == ["--grpc_memory_quota", "100", "--rest_workers=7"]
    assert "--rest_workers" not in command
    assert "--grpc_max_threads" in command
