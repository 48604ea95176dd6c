"""Sizes of what is on disk."""

from __future__ import annotations

from pathlib import Path


def directory_size(directory: Path) -> int:
    """Add up the bytes of all files in a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def human_size(size: int) -> str:
    """Write a number of bytes as decimal megabytes."""
    return f"{size / 1e6:.1f} MB"
