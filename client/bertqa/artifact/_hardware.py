"""What this machine is, and what a server may use of it: cores, memory and open files."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

# What decides how fast INT8 and bf16 are, and what OpenVINO's kernels ask for.
_FEATURES = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
)
_DECISIVE = ("avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_INT8_PRODUCTS = ("avx_vnni", "avx512_vnni", "amx_int8")
# Control groups, version 2 and version 1, as a container sees its own.
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_CPUS = Path("/sys/devices/system/cpu")
_BUDGETS = ("cpu.max", "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us")
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Topology:
    """What a process may use of the processors.

    Attributes:
        threads: Hardware threads, by affinity and by control group.
        cores: Physical cores, of which each may have several threads.
        nodes: NUMA nodes that these lie on.
    """

    threads: int
    cores: int
    nodes: int


def usable_topology() -> Topology:
    """Return the threads, cores and NUMA nodes that this process may use.

    Where the system does not name the threads of a core, each thread is a core.
    """
    threads = usable_cores()
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    places = [_CPUS / f"cpu{number}" for number in usable]
    cores, nodes = set(), set()
    for place in places:
        with contextlib.suppress(OSError):
            cores.add((place / "topology" / "thread_siblings_list").read_text(encoding="ascii"))
        nodes |= {each.name for each in place.glob("node[0-9]*")}
    return Topology(threads, min(len(cores) or threads, threads), max(1, len(nodes)))


def cpu_name() -> str:
    """Return the name of the CPU, as Linux reports it."""
    return _cpu_info().get("model name", "unknown CPU")


def cpu_flags() -> set[str]:
    """Return the instruction set extensions of the CPU, by their names in `/proc/cpuinfo`."""
    return set(_cpu_info().get("flags", "").split())


def cpu_features() -> list[str]:
    """Return those of the CPU's extensions that decide how fast inference is, the oldest first."""
    flags = cpu_flags()
    return [each for each in _FEATURES if each in flags]


def cpu_title(cores: int | None = None) -> str:
    """Return the CPU's name with what it has for products: AVX2, VNNI, AMX, bf16.

    Args:
        cores: How many cores of it, to be named too.
    """
    features = ", ".join(each for each in cpu_features() if each in _DECISIVE) or "no AVX2"
    counted = "" if cores is None else f", {cores} cores"
    return f"{cpu_name()}{counted} ({features})"


def int8_products() -> list[str]:
    """Return the CPU's extensions for INT8 products: VNNI, AMX; without one they gain nothing."""
    return [each for each in cpu_features() if each in _INT8_PRODUCTS]


def int8_advice() -> str | None:
    """Return what to do where INT8 is not faster, in a sentence; None where it is.

    Without VNNI and AMX, OpenVINO's INT8 products take as long as those in FP32, or longer.
    """
    if int8_products() or not cpu_features():
        return None
    return (
        "This CPU has neither VNNI nor AMX: INT8 saves memory here, not time. What helps is a "
        "pruned version in FP32; `bert-qa bench tune` measures which version is the fastest."
    )


def own_precision() -> str | None:
    """Return the precision for floating-point operations where OpenVINO's choice is slower.

    OpenVINO takes bf16 where the CPU has it. A Xeon from Sapphire Rapids on, of which a virtual
    machine hides AMX, multiplies slower in bf16 than in FP32: docs/results.md has by how much.

    Returns:
        "f32" there, None where OpenVINO's choice is good.
    """
    features = cpu_features()
    is_hidden = "avx512_fp16" in features and "amx_bf16" not in features
    return "f32" if is_hidden and _cpu_info().get("vendor_id") == "GenuineIntel" else None


def usable_cores() -> int:
    """Return the number of cores that this process may use, by affinity and by control group.

    A limit that is not a whole number is rounded down, but to no less than one core.

    Returns:
        The number of cores, 1 or more.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = cores or 1
    for budget in _BUDGETS:
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join(map(_read, budget.split())).split()
            if int(quota) > 0:
                found = min(found, int(quota) // int(period))
    return max(1, found)


def usable_memory() -> int | None:
    """Return how much memory this process may use, by the machine's and by control group.

    Returns:
        The number of bytes, or None where the system does not say.
    """
    found = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(_read(limit)))
    return min((each for each in found if each > 0), default=None)


def open_files_limit() -> int | None:
    """Return how many files a program that is started from here may have open at once.

    Returns:
        The soft limit, or None where there is none.
    """
    try:
        import resource
    except ImportError:  # Not on Windows.
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _read(name: str) -> str:
    return (_CONTROL_GROUPS / name).read_text(encoding="ascii")


def _cpu_info() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # Linux has it.
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
