"""Asking a server once at every length, so that no user pays for a kernel compiled on first use."""

from __future__ import annotations

from collections.abc import Callable

import httpx

LENGTH_STEP = 32
_TIMEOUT_SECONDS = 300.0


def warm_up(rest_url: str, model: str, log: Callable[[str], None]) -> int:
    """Run all available versions of a model once at each multiple of 32 up to its `max_seq_len`.

    A version that does not say how long its inputs may be is left alone. Gives the number of
    requests that were answered. Raises httpx.HTTPError where the server does not answer.
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
            for length in lengths(int(limit)):
                names = [tensor["name"] for tensor in metadata["inputs"]]
                body = {"inputs": [_ones(name, length) for name in names]}
                client.post(f"{path}/infer", json=body).raise_for_status()
                answered += 1
    return answered


def lengths(limit: int) -> list[int]:
    """Give the multiples of 32 up to a limit, and the limit itself."""
    return sorted({*range(LENGTH_STEP, limit + 1, LENGTH_STEP), limit})


def _takes_any_length(metadata: dict[str, list[dict[str, object]]]) -> bool:
    return all(tensor["shape"] == [-1, -1] for tensor in metadata["inputs"])


def _ones(name: str, length: int) -> dict[str, object]:
    return {"name": name, "datatype": "INT64", "shape": [1, length], "data": [1] * length}
