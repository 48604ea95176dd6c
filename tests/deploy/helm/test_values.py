"""values.yaml, values.schema.json and the README's table, and what the schema refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.deploy.helm.chart import ROOT, refusal


def test_the_generated_files_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "deploy" / "helm" / "generate.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"replicas": 3}, "replicas"),
    "an unknown key of a track": ({"tracks": {"stable": {"versoin": 2}}}, "versoin"),
    "a version that is no number": ({"tracks": {"stable": {"version": "newest"}}}, "version"),
    "version zero": ({"tracks": {"stable": {"version": 0}}}, "version"),
    "a weight above 100": ({"tracks": {"stable": {"weight": 101}}}, "weight"),
    "a track's name that is no label": ({"tracks": {"Stable_1": {"version": 1}}}, "Stable_1"),
    "an address of an unknown store": ({"model": {"storage": {"uri": "ftp://a"}}}, "uri"),
    "a relative host path": ({"model": {"hostPath": {"path": "models"}}}, "path"),
    "memory that is no quantity": ({"resources": {"limits": {"memory": "4 GB"}}}, "memory"),
    "an unknown log level": ({"server": {"logLevel": "LOUD"}}, "logLevel"),
    "text for a number": ({"server": {"streams": "two"}}, "streams"),
    "an unknown placement": ({"xeon": {"amx": "sometimes"}}, "amx"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_schema_refuses(case: str) -> None:
    values, key = WRONG[case]
    said = refusal(values)
    assert "values don't meet the specifications of the schema" in said
    assert key in said
