"""The settings of OpenVINO Model Server, from what the machine has.

`bert-qa serve` and the Helm chart use the same numbers: a test compares the chart with this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertqa.artifact._hardware import own_precision
from bertqa.errors import ConfigError

PRECISIONS = ("f32", "bf16", "f16")
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
_THREADS_PER_STREAM = 4
_LARGE_REQUEST_TOKENS = 64 * 512
_CLIENT_TOKENS = 2048
_SMALLEST_BOUND_TOKENS = 4 * _CLIENT_TOKENS

_CALLS = 1000
_SPARE_GRPC_THREADS = 24
# A waiting call has a thread of gRPC (48 KiB were measured) and a request of 2048 tokens.
_CALL_BYTES = 96 * 1024
_CALLS_SHARE = 10

_REST_WORKERS = 128
_FILES_PER_REST_WORKER = 6
_OTHER_FILES = 32
_REST_WORKERS_PER_STREAM = 8

# BERT-base in FP32 took 46 KiB a token for 16 windows of 512 tokens, and 29 for 64 of them.
_TOKEN_BYTES = 48 * 1024
# Three inputs of INT64.
_BYTES_PER_TOKEN = 24
_ENVELOPE_BYTES = 4096
# A proxy counts the bytes of a request in 32 bits.
_MOST_REQUEST_TOKENS = 44_000_000

_POLL_SECONDS = 1
_PING_MILLISECONDS = 10_000

# OVMS reads 32 bits. Of more calls on one connection it takes no notice: it keeps its own limit.
_MOST = 2**31 - 1
PINNING = "ENABLE_CPU_PINNING"
_DIGITS = len(str(_MOST))
SETTING_RANGES: Mapping[str, tuple[int, int]] = {
    "threads": (1, _MOST),
    "streams": (1, _MOST),
    "concurrent_streams": (1, _MOST - _SPARE_GRPC_THREADS),
    "grpc_threads": (2, _MOST),
    "rest_workers": (2, 10_000),
    "poll_seconds": (0, _MOST),
}
"""The least and the most that the server takes, by the names of `ServerSettings`."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of one server.

    Attributes:
        threads: Threads of inference (INFERENCE_NUM_THREADS): one for each core.
        streams: Requests that are computed at once (NUM_STREAMS).
        grpc_threads: Threads of the gRPC server (`--grpc_max_threads`). A call has one from its
            start to its end, and a call that finds none is refused with RESOURCE_EXHAUSTED.
        concurrent_streams: Calls at once on one gRPC connection.
        rest_workers: Event loops of the REST server (`--rest_workers`). A connection belongs to
            one of them, and waits while that one computes a request of another connection.
        poll_seconds: How often the server looks for a changed `config.json` and new versions; 0
            is never.
        log_level: TRACE, DEBUG, INFO, WARNING or ERROR.
        max_request_tokens: The largest request, as batch times tokens, that a proxy in front of
            the server lets through. OVMS itself has no such limit.
        precision: What floating-point operations run in (INFERENCE_PRECISION_HINT): f32, bf16 or
            f16; None is OpenVINO's own choice, which is bf16 where the CPU has it.
    """

    threads: int
    streams: int
    grpc_threads: int
    concurrent_streams: int
    rest_workers: int
    poll_seconds: int
    log_level: str
    max_request_tokens: int
    precision: str | None = None

    @property
    def plugin_config(self) -> dict[str, str]:
        """The `plugin_config` of a model in `config.json`: OpenVINO's properties by their names.

        Threads are not pinned to cores: pinned ones of several servers on a machine would all be
        on its first cores.
        """
        return {
            "INFERENCE_NUM_THREADS": str(self.threads),
            "NUM_STREAMS": str(self.streams),
            PINNING: "NO",
            **precision_hint(self.precision),
        }

    @property
    def max_request_bytes(self) -> int:
        """The size of a request of `max_request_tokens` in binary tensors, with its envelope."""
        return self.max_request_tokens * _BYTES_PER_TOKEN + _ENVELOPE_BYTES

    def flags(self) -> dict[str, str]:
        """Return the options of `ovms` that carry these settings.

        gRPC ends connections of clients that ping more often than every 300 seconds, or that ping
        without a call. The channel arguments permit a ping every ten seconds.

        Returns:
            The values by the names of the options, without dashes.
        """
        arguments = {
            "grpc.max_concurrent_streams": self.concurrent_streams,
            "grpc.http2.min_ping_interval_without_data_ms": _PING_MILLISECONDS,
            "grpc.keepalive_permit_without_calls": 1,
        }
        return {
            "grpc_max_threads": str(self.grpc_threads),
            "grpc_channel_arguments": ",".join(f"{key}={arguments[key]}" for key in arguments),
            "rest_workers": str(self.rest_workers),
            "file_system_poll_wait_seconds": str(self.poll_seconds),
            "log_level": self.log_level,
        }

    def conflicts(self, *plugin_configs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each pair of settings that contradict each other.

        Args:
            *plugin_configs: Those of the models, where they are not that of these settings.

        Returns:
            The sentences, each once; none where the settings go together.
        """
        configs = plugin_configs or (self.plugin_config,)
        streams = max(_number(config, "NUM_STREAMS") for config in configs)
        found = []
        if self.grpc_threads <= self.concurrent_streams:
            found.append(
                f"grpc_max_threads ({self.grpc_threads}) is not above grpc.max_concurrent_streams "
                f"({self.concurrent_streams}): calls beyond the threads are refused with "
                "RESOURCE_EXHAUSTED."
            )
        needed = _REST_WORKERS_PER_STREAM * streams
        if self.rest_workers < needed:
            found.append(
                f"rest_workers ({self.rest_workers}) is below {_REST_WORKERS_PER_STREAM} for each "
                f"of {streams} streams ({needed}): health probes may wait behind long "
                "requests over REST."
            )
        if self.max_request_tokens < _CLIENT_TOKENS:
            found.append(
                f"The largest request ({self.max_request_tokens} tokens) is below the "
                f"{_CLIENT_TOKENS} tokens that a client sends at once: its larger requests are "
                "refused."
            )
        for config in configs:
            found += plugin_conflicts(config)
        return list(dict.fromkeys(found))


def server_settings(
    cores: int,
    memory_bytes: int | None = None,
    *,
    open_files: int | None = None,
    threads: int | None = None,
    streams: int | None = None,
    grpc_threads: int | None = None,
    concurrent_streams: int | None = None,
    rest_workers: int | None = None,
    poll_seconds: int | None = None,
    log_level: str = "INFO",
    max_request_tokens: int | None = None,
    precision: str | None = None,
) -> ServerSettings:
    """Return the settings of a server that may use so many cores and so much memory.

    Every setting can be given; the others follow. For one that is not given, or is 0:

    - `threads`: the cores.
    - `streams`: one for every four threads, but two where there are two threads, so that a request
      does not wait while a core is free. More streams answer more requests, fewer answer sooner.
    - `concurrent_streams`: 1000, or as many waiting calls as a tenth of the memory holds.
    - `grpc_threads`: 24 more than that, for gRPC itself, which starts them when calls need them.
    - `rest_workers`: 128. While `k` connections wait for long requests, a probe on a new
      connection waits in `k` of 128 cases. An idle worker takes 64 KiB and up to six files; 128
      fit the usual limit of 1024 files, and there are fewer where the limit is lower.
    - `poll_seconds`, if it is not given: 1, so that a switch of versions is noticed at once.
    - `max_request_tokens`: what three quarters of the memory, shared by the streams, hold of a
      BERT-base model in FP32: 64 windows of 512 tokens with two streams in 4 GiB.

    Args:
        cores: The number of cores, 1 or more.
        memory_bytes: The memory that the server may use, or None where that is unknown.
        open_files: How many files the server may have open, or None where that is unknown.
        threads: See `ServerSettings`, as for all that follow.
        streams: Requests that are computed at once.
        grpc_threads: 2 or more, as gRPC needs one itself.
        concurrent_streams: Calls at once on one gRPC connection.
        rest_workers: 2 or more; OVMS has no fewer.
        poll_seconds: 0 is never.
        log_level: In capital letters.
        max_request_tokens: Batch times tokens.
        precision: One of `PRECISIONS`.

    Returns:
        The settings. `ServerSettings.conflicts` says which of them contradict each other.

    Raises:
        ConfigError: A setting has a value that the server cannot have.
    """
    threads = threads or cores
    streams = streams or _streams_for(threads)
    concurrent_streams = concurrent_streams or _calls(memory_bytes)
    settings = ServerSettings(
        threads=threads,
        streams=streams,
        grpc_threads=grpc_threads or concurrent_streams + _SPARE_GRPC_THREADS,
        concurrent_streams=concurrent_streams,
        rest_workers=_rest_workers(open_files) if rest_workers is None else rest_workers,
        poll_seconds=_POLL_SECONDS if poll_seconds is None else poll_seconds,
        log_level=log_level,
        max_request_tokens=max_request_tokens or _request_tokens(memory_bytes, streams),
        precision=precision,
    )
    if settings.grpc_threads < 2:
        raise ConfigError("With 1 thread of gRPC the server refuses every call: use 2 or more.")
    if settings.rest_workers < 2:
        raise ConfigError(f"OVMS needs 2 REST workers at least, not {settings.rest_workers}.")
    for name, (least, most) in SETTING_RANGES.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise ConfigError(f"{name} is {value}, but has to be from {least} to {most}.")
    if open_files is not None and settings.rest_workers > _most_rest_workers(open_files):
        raise ConfigError(
            f"rest_workers is {settings.rest_workers}, but OVMS needs {_FILES_PER_REST_WORKER} "
            f"open files for each, and may open {open_files}: use "
            f"{_most_rest_workers(open_files)} at most, or raise the limit (ulimit -n)."
        )
    if log_level not in LOG_LEVELS:
        raise ConfigError(f"{log_level} is not a log level: use one of {', '.join(LOG_LEVELS)}.")
    if precision is not None and precision not in PRECISIONS:
        raise ConfigError(f"{precision} is not a precision: use one of {', '.join(PRECISIONS)}.")
    return settings


def _streams_for(threads: int) -> int:
    """Return how many of OpenVINO's streams serve best on so many threads.

    Args:
        threads: The number of threads, 1 or more.

    Returns:
        The number of streams, 1 or more: see `server_settings`.
    """
    return min(threads, max(2, threads // _THREADS_PER_STREAM))


def precision_hint(precision: str | None) -> dict[str, str]:
    """Return the properties of OpenVINO that set the precision of floating-point operations.

    Args:
        precision: One of `PRECISIONS`; None leaves it to OpenVINO.
    """
    return {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}


def plugin_config(cores: int) -> dict[str, str]:
    """Return the `plugin_config` of `config.json` that makes use of so many cores of this machine.

    Args:
        cores: The number of cores, 1 or more.

    Returns:
        OpenVINO's properties by their names.
    """
    return server_settings(cores, precision=own_precision()).plugin_config


def plugin_conflicts(properties: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each pair of OpenVINO's properties that contradict each other.

    Args:
        properties: The `plugin_config` of a model; values are text or numbers.

    Returns:
        The sentences; none where the properties go together.
    """
    found = []
    streams = properties.get("NUM_STREAMS")
    threads = properties.get("INFERENCE_NUM_THREADS")
    if 0 < _number(properties, "INFERENCE_NUM_THREADS") < _number(properties, "NUM_STREAMS"):
        found.append(
            f"NUM_STREAMS ({streams}) is above INFERENCE_NUM_THREADS ({threads}): OpenVINO runs "
            f"{threads} streams."
        )
    if streams is not None and "PERFORMANCE_HINT" in properties:
        found.append(
            f"PERFORMANCE_HINT ({properties['PERFORMANCE_HINT']}) has no effect beside NUM_STREAMS "
            f"({streams})."
        )
    return found


def _number(properties: Mapping[str, Any], name: str) -> int:
    """Return the number that a property is, 0 where it is none, as in AUTO."""
    text = str(properties.get(name))
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else 0


def _calls(memory_bytes: int | None) -> int:
    if memory_bytes is None:
        return _CALLS
    return max(1, min(_CALLS, memory_bytes // _CALLS_SHARE // _CALL_BYTES))


def _rest_workers(open_files: int | None) -> int:
    if open_files is None:
        return _REST_WORKERS
    return min(_REST_WORKERS, _most_rest_workers(open_files))


def _most_rest_workers(open_files: int) -> int:
    return max(2, (open_files - _OTHER_FILES) // _FILES_PER_REST_WORKER)


def _request_tokens(memory_bytes: int | None, streams: int) -> int:
    if memory_bytes is None:
        return _LARGE_REQUEST_TOKENS
    shared = memory_bytes * 3 // 4 // streams // _TOKEN_BYTES
    return min(_MOST_REQUEST_TOKENS, max(_SMALLEST_BOUND_TOKENS, shared))
