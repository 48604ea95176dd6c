"""Prometheus's own evaluation of rules and queries, by `promtool`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.support.chart import Manifest
from tools import programs


def _promtool(*arguments: str | Path) -> None:
    try:
        program = programs.promtool()
    except programs.MissingProgramError as error:
        pytest.skip(str(error))
    checked = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def check_rules(directory: Path, spec: Manifest) -> None:
    """Check the specification of a PrometheusRule."""
    _promtool("check", "rules", _written(directory / "rules.yaml", spec))


def evaluate(
    directory: Path,
    tests: Sequence[Manifest],
    spec: Manifest | None = None,
    interval: str = "1m",
) -> None:
    """Run unit tests of Prometheus.

    Args:
        directory: A folder for the files.
        tests: The tests, in the form of `promtool test rules`.
        spec: The specification of the PrometheusRule that they are about.
        interval: How often its rules are evaluated.
    """
    files = [str(_written(directory / "rules.yaml", spec))] if spec else []
    content = {"rule_files": files, "evaluation_interval": interval, "tests": list(tests)}
    _promtool("test", "rules", _written(directory / "test.yaml", content))


def _written(path: Path, content: Manifest) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path
