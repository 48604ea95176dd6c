"""The machine that figures were measured on."""

from __future__ import annotations

import os

from bertqa.artifact import cpu_title


def machine() -> str:
    """Return the name of the CPU, its cores, and what it has for inference."""
    return cpu_title(len(os.sched_getaffinity(0)))
