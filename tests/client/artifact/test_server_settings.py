"""The settings of a server, from cores, memory and open files."""

from __future__ import annotations

from typing import Any

import pytest

from bertqa.artifact import (
    plugin_config,
    plugin_conflicts,
    server_settings,
)
from bertqa.errors import ConfigError

GIB = 1024**3
LARGE_REQUEST_TOKENS = 64 * 512


@pytest.mark.parametrize(
    ("cores", "threads", "streams"),
    [(1, "1", "1"), (2, "2", "2"), (4, "4", "2"), (8, "8", "2"), (56, "56", "14")],
)
def test_all_cores_are_used_four_to_a_stream_and_two_streams_at_least(
    cores: int, threads: str, streams: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": "NO",
    }
    monkeypatch.setattr("bertqa.artifact._server_settings.own_precision", lambda: None)
    assert plugin_config(cores) == expected
    monkeypatch.setattr("bertqa.artifact._server_settings.own_precision", lambda: "f32")
    assert plugin_config(cores) == {**expected, "INFERENCE_PRECISION_HINT": "f32"}


@pytest.mark.parametrize("cores", range(1, 65))
@pytest.mark.parametrize("memory", [None, GIB // 4, GIB, 4 * GIB, 256 * GIB])
def test_what_is_chosen_never_contradicts_itself(cores: int, memory: int | None) -> None:
    assert server_settings(cores, memory).conflicts() == []


def test_the_flags_carry_every_setting_that_the_command_line_has() -> None:
    assert server_settings(4, 4 * GIB).flags() == {
        "grpc_max_threads": "1024",
        "grpc_channel_arguments": "grpc.max_concurrent_streams=1000,"
        "grpc.http2.min_ping_interval_without_data_ms=10000,grpc.keepalive_permit_without_calls=1",
        "rest_workers": "128",
        "file_system_poll_wait_seconds": "1",
        "log_level": "INFO",
    }


@pytest.mark.parametrize(
    ("memory", "calls"), [(None, 1000), (4 * GIB, 1000), (GIB // 2, 546), (1, 1)]
)
def test_no_more_calls_wait_than_a_tenth_of_the_memory_holds(
    memory: int | None, calls: int
) -> None:
    settings = server_settings(4, memory)
    assert settings.concurrent_streams == calls
    assert settings.grpc_threads == calls + 24


@pytest.mark.parametrize(
    ("files", "workers"), [(None, 128), (1_048_576, 128), (1024, 128), (256, 37), (10, 2)]
)
def test_rest_workers_fit_the_limit_of_open_files(files: int | None, workers: int) -> None:
    assert server_settings(4, open_files=files).rest_workers == workers


@pytest.mark.parametrize(
    ("cores", "memory", "tokens"),
    [
        (4, 4 * GIB, LARGE_REQUEST_TOKENS),
        (4, None, LARGE_REQUEST_TOKENS),
        (16, 16 * GIB, 2 * LARGE_REQUEST_TOKENS),
        (1, GIB // 4, 8192),
    ],
)
def test_one_request_may_hold_its_stream_s_share_of_the_memory(
    cores: int, memory: int | None, tokens: int
) -> None:
    settings = server_settings(cores, memory)
    assert settings.max_request_tokens == tokens
    assert settings.max_request_bytes > tokens * 3 * 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 3),
        ("streams", 3),
        ("grpc_threads", 99),
        ("concurrent_streams", 99),
        ("rest_workers", 2),
        ("poll_seconds", 0),
        ("log_level", "DEBUG"),
        ("max_request_tokens", 4096),
    ],
)
def test_every_setting_can_be_given(name: str, value: Any) -> None:
    settings = server_settings(4, 4 * GIB, **{name: value})
    assert getattr(settings, name) == value


def test_what_is_not_given_follows_what_is() -> None:
    assert server_settings(4, threads=16).streams == 4
    assert server_settings(4, concurrent_streams=50).grpc_threads == 74
    assert server_settings(4, 4 * GIB, streams=4).max_request_tokens == LARGE_REQUEST_TOKENS // 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"grpc_threads": 1}, "With 1 thread of gRPC the server refuses every call"),
        ({"rest_workers": 1}, "OVMS needs 2 REST workers at least, not 1."),
        ({"rest_workers": 10_001}, "rest_workers is 10001, but has to be from 2 to 10000."),
        (
            {"concurrent_streams": 2**31},
            "concurrent_streams is 2147483648, but has to be from 1 to 2147483623.",
        ),
        ({"grpc_threads": 2**31}, "grpc_threads is 2147483648, but has to be from 2 to 2147483647"),
        ({"threads": -1}, "threads is -1, but has to be from 1 to 2147483647."),
        ({"log_level": "info"}, "info is not a log level: use one of TRACE, DEBUG"),
    ],
)
def test_what_the_server_would_refuse_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        server_settings(4, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"grpc_threads": 64, "concurrent_streams": 64},
            (
                "grpc_max_threads (64) is not above grpc.max_concurrent_streams (64): calls beyond "
                "the threads are refused with RESOURCE_EXHAUSTED."
            ),
        ),
        (
            {"grpc_threads": 64},
            (
                "grpc_max_threads (64) is not above grpc.max_concurrent_streams (1000): calls "
                "beyond the threads are refused with RESOURCE_EXHAUSTED."
            ),
        ),
        (
            {"rest_workers": 8},
            (
                "rest_workers (8) is below 8 for each of 2 streams (16): health probes may wait "
                "behind long requests over REST."
            ),
        ),
        (
            {"max_request_tokens": 512},
            (
                "The largest request (512 tokens) is below the 2048 tokens that a client sends at "
                "once: its larger requests are refused."
            ),
        ),
        (
            {"streams": 8},
            "NUM_STREAMS (8) is above INFERENCE_NUM_THREADS (4): OpenVINO runs 4 streams.",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_named_with_the_consequence(
    given: dict[str, Any], said: str
) -> None:
    assert server_settings(4, **given).conflicts() == [said]


def test_a_precision_is_a_property_and_no_other_than_openvino_has() -> None:
    assert "INFERENCE_PRECISION_HINT" not in server_settings(4).plugin_config
    config = server_settings(4, precision="bf16").plugin_config
    assert config["INFERENCE_PRECISION_HINT"] == "bf16"
    with pytest.raises(ConfigError, match="int8 is not a precision: use one of f32, bf16, f16"):
        server_settings(4, precision="int8")


def test_rest_workers_are_compared_with_the_streams_that_the_models_have() -> None:
    settings = server_settings(4, rest_workers=24)
    assert settings.conflicts({"NUM_STREAMS": "3"}, {"PERFORMANCE_HINT": "LATENCY"}) == []
    assert settings.conflicts({"NUM_STREAMS": "AUTO"}, {"NUM_STREAMS": "9" * 5000}) == []
    assert settings.conflicts({"NUM_STREAMS": 2}, {"NUM_STREAMS": 4}, {"NUM_STREAMS": 4}) == [
        (
            "rest_workers (24) is below 8 for each of 4 streams (32): health probes may wait "
            "behind long requests over REST."
        )
    ]


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, []),
        ({"NUM_STREAMS": "AUTO", "INFERENCE_NUM_THREADS": 2}, []),
        ({"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": "2"}, []),
        ({"PERFORMANCE_HINT": "LATENCY"}, []),
        (
            {"NUM_STREAMS": "2", "PERFORMANCE_HINT": "THROUGHPUT"},
            ["PERFORMANCE_HINT (THROUGHPUT) has no effect beside NUM_STREAMS (2)."],
        ),
        (
            {"NUM_STREAMS": 3, "INFERENCE_NUM_THREADS": "2"},
            ["NUM_STREAMS (3) is above INFERENCE_NUM_THREADS (2): OpenVINO runs 2 streams."],
        ),
    ],
)
def test_contradictions_in_a_plugin_config_are_found(
    properties: dict[str, Any], said: list[str]
) -> None:
    assert plugin_conflicts(properties) == said


def test_more_rest_workers_than_files_for_them_are_refused() -> None:
    with pytest.raises(ConfigError, match="may open 1000: use 161 at most"):
        server_settings(2, None, open_files=1000, rest_workers=200)
