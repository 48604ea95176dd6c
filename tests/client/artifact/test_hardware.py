"""How many cores a server uses, and with which settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertqa.artifact import _hardware as module
from bertqa.artifact import plugin_config, usable_cores


@pytest.mark.parametrize(
    ("cores", "threads", "streams"),
    [(1, "1", "1"), (2, "2", "2"), (4, "4", "2"), (8, "8", "2"), (56, "56", "14")],
)
def test_all_cores_are_used_four_to_a_stream_and_two_streams_at_least(
    cores: int, threads: str, streams: str
) -> None:
    config = plugin_config(cores)
    assert config == {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}


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
    monkeypatch.setattr(module, "_CPU_QUOTA", tmp_path / "cpu.max")
    assert usable_cores() == (cores or len(os.sched_getaffinity(0)))
