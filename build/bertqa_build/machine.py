"""The machine that figures were measured on."""

from __future__ import annotations

import os

from bertqa.artifact import cpu_flags
from bertqa.artifact import cpu_name as model_name

_SHOWN = ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_KNOWN = ("avx2", "avx512f", *_SHOWN)


def instructions() -> tuple[str, ...]:
    """Return which instructions for the products of such models the CPU has, by Linux's names."""
    return tuple(each for each in _KNOWN if each in cpu_flags())


def machine() -> str:
    """Return the name of the CPU, its cores, and its instructions for bf16 and INT8 products."""
    return f"{model_name()}, {len(os.sched_getaffinity(0))} cores ({_instructions()})"


def cpu_name() -> str:
    """Return the name of the CPU with its instructions for bf16 and INT8 products."""
    return f"{model_name()} ({_instructions()})"


def _instructions() -> str:
    flags = cpu_flags()
    return ", ".join(each for each in _SHOWN if each in flags) or "no VNNI"
