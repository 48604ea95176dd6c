"""Asking a server at every length, so that no user pays for a kernel compiled on first use."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

LENGTH_STEP = 32
_TIMEOUT_SECONDS = 300.0


def warm_up(rest_url: str, model: str, log: Callable[[str], None]) -> int:
    """Run all available versions of a model at each multiple of 32 up to its `max_seq_len`.

    Each of OpenVINO's streams compiles for itself, so a version with several gets as many requests
    at once. A version that does not say how long its inputs may be is left alone. Gives the number
    of requests that were answered. Raises httpx.HTTPError where the server does not answer.
    """
    answered = 0
    with httpx.Client(base_url=rest_url, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
        for version in client.get(f"/v2/models/{model}").raise_for_status().json()["versions"]:
            path = f"/v2/models/{model}/versions/{version}"
            metadata = client.get(path).raise_for_status().json()
            limit = metadata.get("rt_info", {}).get("model_info", {}).get("max_seq_len", "")
            if not limit.isdigit() or not _takes_any_length(metadata):
                log(f"{model} version {version} does not say how to be warmed up.")
                continue
            names = [tensor["name"] for tensor in metadata["inputs"]]

            def ask(length: int, path: str = path, names: list[str] = names) -> None:
                body = {"inputs": [_ones(name, length) for name in names]}
                client.post(f"{path}/infer", json=body).raise_for_status()

            streams = _streams(client, model, version)
            with ThreadPoolExecutor(streams) as pool:
                for length in lengths(int(limit)):
                    answered += len(list(pool.map(ask, [length] * streams)))
    return answered


def lengths(limit: int) -> list[int]:
    """Return the multiples of 32 up to a limit, and the limit itself."""
    return sorted({*range(LENGTH_STEP, limit + 1, LENGTH_STEP), limit})


def _streams(client: httpx.Client, model: str, version: str) -> int:
    """Read from a server's metrics how many streams a version has; 1 where there are none."""
    pattern = rf'^ovms_streams{{name="{re.escape(model)}",version="{version}"}} ([0-9]+)'
    match = re.search(pattern, client.get("/metrics").text, re.MULTILINE)
    return max(1, int(match[1])) if match else 1


def _takes_any_length(metadata: dict[str, list[dict[str, object]]]) -> bool:
    return all(tensor["shape"] == [-1, -1] for tensor in metadata["inputs"])


def _ones(name: str, length: int) -> dict[str, object]:
    return {"name": name, "datatype": "INT64", "shape": [1, length], "data": [1] * length}
