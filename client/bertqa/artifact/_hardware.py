"""How many cores a server may use, and OpenVINO's settings for them."""

from __future__ import annotations

import os
from pathlib import Path

THREADS_PER_STREAM = 4
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return the number of cores that this process may use, by affinity and by control group.

    A limit that is not a whole number is rounded down, but to no less than one core.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return cores or 1
    return max(1, min(cores or 1, int(limit)))


def streams_for(cores: int) -> int:
    """Return how many of OpenVINO's streams serve best on so many cores: four cores to each.

    A stream answers one request at a time: more streams answer more of them, fewer answer sooner.
    There are two at least, so that a request does not wait while a core is free.

    Args:
        cores: The number of cores, at least one.

    Returns:
        The number of streams, at least one.
    """
    return min(cores, max(2, cores // THREADS_PER_STREAM))


def plugin_config(cores: int) -> dict[str, str]:
    """Return the `plugin_config` of `config.json` that makes use of so many cores.

    Args:
        cores: The number of cores, 1 or more.

    Returns:
        OpenVINO's properties by their names.
    """
    return {"INFERENCE_NUM_THREADS": str(cores), "NUM_STREAMS": str(streams_for(cores))}
