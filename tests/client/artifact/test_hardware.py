"""What a server may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertqa.artifact import (
    Topology,
    open_files_limit,
    own_precision,
    usable_cores,
    usable_memory,
    usable_topology,
)
from bertqa.artifact import _hardware as module


def test_cores_and_nodes_are_counted_beside_hardware_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two sockets of two cores with two threads each, of which this process may use seven."""
    for cpu in range(8):
        place = tmp_path / f"cpu{cpu}"
        (place / "topology").mkdir(parents=True)
        (place / "topology" / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
        (place / f"node{cpu % 2}").mkdir()
    monkeypatch.setattr(module, "_CPUS", tmp_path)
    monkeypatch.setattr(module, "_CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    assert usable_topology() == Topology(threads=7, cores=4, nodes=2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6})
    assert usable_topology() == Topology(threads=4, cores=2, nodes=1)
    (tmp_path / "cpu.max").write_text("100000 100000")
    assert usable_topology() == Topology(threads=1, cores=1, nodes=1)


@pytest.mark.parametrize(
    ("vendor", "flags", "precision"),
    [
        ("GenuineIntel", "avx512_bf16 avx512_fp16 amx_bf16", None),
        ("GenuineIntel", "avx512_bf16 avx512_fp16", "f32"),
        ("GenuineIntel", "avx512_bf16", None),
        ("AuthenticAMD", "avx512_bf16", None),
        ("AuthenticAMD", "avx512_bf16 avx512_fp16", None),
        ("GenuineIntel", "avx2", None),
    ],
)
def test_a_xeon_whose_amx_is_hidden_computes_in_fp32(
    monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str, precision: str | None
) -> None:
    monkeypatch.setattr(module, "_cpu_info", lambda: {"vendor_id": vendor, "flags": flags})
    assert own_precision() == precision


def test_where_the_system_says_nothing_each_thread_is_a_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_CPUS", tmp_path)
    assert usable_topology() == Topology(usable_cores(), usable_cores(), 1)


def test_this_machine_has_cores() -> None:
    assert usable_cores() >= 1


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", None),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", 1),
        ("99900000 100000", None),
        ("", None),
    ],
)
def test_a_limit_of_the_control_group_counts_also_below_one_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, cores: int | None
) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(module, "_CONTROL_GROUPS", tmp_path)
    assert usable_cores() == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("quota", "cores"), [("-1", None), ("50000", 1), ("100000", 1)])
def test_a_quota_of_control_groups_of_version_1_counts_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cores: int | None
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(module, "_CONTROL_GROUPS", tmp_path)
    assert usable_cores() == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("file", "limit", "memory"),
    [
        ("memory.max", "1048576\n", 1048576),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "2097152\n", 2097152),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
    ],
)
def test_memory_is_the_machine_s_or_the_control_group_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, limit: str, memory: int | None
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / file).write_text(limit)
    monkeypatch.setattr(module, "_CONTROL_GROUPS", tmp_path)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert usable_memory() == (memory or physical)


def test_the_limit_of_open_files_is_the_soft_one(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = {"now": (256, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    assert open_files_limit() == 256
    limits["now"] = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert open_files_limit() is None


@pytest.mark.parametrize(
    ("flags", "advises"),
    [
        ("avx2 fma", True),
        ("avx2 avx512f", True),
        ("avx2 avx_vnni", False),
        ("avx2 avx512_vnni", False),
        ("avx2 amx_int8", False),
        ("", False),
    ],
)
def test_what_int8_saves_is_said_where_the_cpu_has_no_products_for_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, advises: bool
) -> None:
    monkeypatch.setattr(module, "_cpu_info", lambda: {"model name": "Chip", "flags": flags})
    advice = module.int8_advice()
    assert (advice is not None) == advises
    assert advice is None or "INT8 saves memory here, not time" in advice
    decisive = ", ".join(flags.replace("fma", "").replace("avx512f", "").split())
    assert module.cpu_title(2) == f"Chip, 2 cores ({decisive or 'no AVX2'})"
