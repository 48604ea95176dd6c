"""Some of the interleavings that `python -m tools.interleave` runs by the thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_writers_that_are_interleaved_and_killed_leave_a_whole_repository() -> None:
    # In a process of its own: the cases fork, which a process with threads must not.
    done = subprocess.run(
        [sys.executable, "-m", "tools.interleave", "--count", "150", "--seed", "100000"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 interleavings" in done.stdout
