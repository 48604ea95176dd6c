"""The machine that figures were measured on."""

from __future__ import annotations

import os
from pathlib import Path

_SHOWN = ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def machine() -> str:
    """Return the name of the CPU, its cores, and its instructions for bf16 and INT8 products."""
    return f"{_name()}, {len(os.sched_getaffinity(0))} cores ({_instructions()})"


def cpu_name() -> str:
    """Return the name of the CPU with its instructions for bf16 and INT8 products."""
    return f"{_name()} ({_instructions()})"


def cpu_flags() -> set[str]:
    """Return the instruction set extensions of the CPU, by their names in `/proc/cpuinfo`."""
    return set(_cpu_info().get("flags", "").split())


def _name() -> str:
    return _cpu_info().get("model name", "unknown CPU")


def _instructions() -> str:
    flags = cpu_flags()
    return ", ".join(name for name in _SHOWN if name in flags) or "no VNNI"


def _cpu_info() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
