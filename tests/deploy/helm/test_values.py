"""values.yaml, values.schema.json and the README's table, and what the schema refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import SETTING_RANGES
from tests.support.chart import CHART, ROOT, refusal, render
from tools.programs import helm


def test_the_generated_files_are_up_to_date() -> None:
    command = [sys.executable, "-m", "tools.chart", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"replicas": 3}, "replicas"),
    "an unknown key of a track": ({"tracks": {"stable": {"versoin": 2}}}, "versoin"),
    "a version that is not a number": ({"tracks": {"stable": {"version": "newest"}}}, "version"),
    "version zero": ({"tracks": {"stable": {"version": 0}}}, "version"),
    "a weight above 100": ({"tracks": {"stable": {"weight": 101}}}, "weight"),
    "a track's name that is not a label": ({"tracks": {"Stable_1": {"version": 1}}}, "Stable_1"),
    "an address of an unknown store": ({"model": {"storage": {"uri": "ftp://a"}}}, "uri"),
    "a relative host path": ({"model": {"hostPath": {"path": "models"}}}, "path"),
    "memory that is not a quantity": ({"resources": {"limits": {"memory": "4 GB"}}}, "memory"),
    "an unknown log level": ({"server": {"logLevel": "LOUD"}}, "logLevel"),
    "text for a number": ({"server": {"streams": "two"}}, "streams"),
    "a split without a percent": ({"rollout": {"good": "1"}}, "good"),
    "a split above 100 percent": ({"rollout": {"goal": "1=101"}}, "goal"),
    "a split of version zero": ({"rollout": {"previous": "0=100"}}, "previous"),
    "text for yes or no": ({"rollout": {"returning": "yes"}}, "returning"),
    "an unknown placement": ({"xeon": {"amx": "sometimes"}}, "amx"),
    "no step of a rollout": ({"rollouts": {"steps": []}}, "steps"),
    "a step above 100": ({"rollouts": {"steps": [50, 101]}}, "steps"),
    "no process of the HTTP API": ({"httpApi": {"workers": 0}}, "workers"),
    "a web origin with a path": (
        {"httpApi": {"corsOrigins": ["https://a.example/page"]}},
        "corsOrigins",
    ),
    "a Prometheus without a scheme": (
        {"rollouts": {"prometheus": "prometheus:9090"}},
        "prometheus",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_schema_refuses(case: str) -> None:
    values, key = WRONG[case]
    message = refusal(values)
    assert "values don't meet the specifications of the schema" in message
    assert key in message


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        ("threads", "threads"),
        ("streams", "streams"),
        ("maxConcurrentStreams", "concurrent_streams"),
        ("grpcMaxThreads", "grpc_threads"),
        ("restWorkers", "rest_workers"),
        ("pollSeconds", "poll_seconds"),
    ],
)
def test_the_schema_refuses_what_serve_refuses(value: str, setting: str) -> None:
    _, most = SETTING_RANGES[setting]
    for wrong in (-1, most + 1):
        message = refusal({"server": {value: wrong}})
        assert "values don't meet the specifications of the schema" in message
        assert value in message


@pytest.mark.parametrize("split", ["", "1=100", "1=90,2=10", "12=0,13=5,14=95"])
def test_nothing_is_rendered_from_the_memory_of_a_rollout(split: str) -> None:
    memory = {
        "good": split,
        "goal": split,
        "previous": split,
        "returning": True,
        "held": "Too few.",
    }
    assert render(values={"rollout": memory}).text == render().text


def test_the_chart_may_be_part_of_another(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: parent, version: 0.1.0}")
    (tmp_path / "values.yaml").write_text("bert-qa: {model: {pvc: {claimName: models}}}")
    shutil.copytree(CHART, tmp_path / "charts" / "bert-qa")
    command = [str(helm()), "template", "whole", str(tmp_path)]
    rendered = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "name: whole-bert-qa-stable" in rendered.stdout
