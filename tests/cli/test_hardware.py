"""The word on CPUs without instructions for INT8 products, in each verb that it concerns."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertqa.artifact import _hardware
from tests.cli.conftest import Invoke
from tests.support.checkpoints import write_squad
from tests.support.engines import Served
from tests.support.models import write_config, write_manifest, write_toy_version

DATA = Path(__file__).parents[2] / "build" / "recipes" / "demo" / "evaluation-sample.json"
WORD = "INT8 saves memory here, not time"
WITHOUT = {"model name": "Old Chip", "flags": "avx2"}
WITH = {"model name": "New Chip", "flags": "avx2 avx512_vnni"}


@pytest.mark.parametrize(("cpu", "count"), [(WITHOUT, 1), (WITH, 0)])
def test_a_load_says_it_once_and_names_the_cpu(
    invoke: Invoke,
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    cpu: dict[str, str],
    count: int,
) -> None:
    monkeypatch.setattr(_hardware, "_cpu_info", lambda: cpu)
    short = ("--duration", "1s", "--warm-up", "0s", "--processes", "1", "--at-once", "1")
    result = invoke("bench", "load", "--url", served.rest_url, "--data", str(DATA), *short)
    assert result.status == 0, result.err
    assert " ".join(result.err.split()).count(WORD) == count
    assert cpu["model name"] in result.out


@pytest.mark.parametrize(("precision", "count"), [("int8", 1), ("fp32", 0)])
def test_serve_says_it_where_a_version_is_in_int8(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, count: int
) -> None:
    monkeypatch.setattr(_hardware, "_cpu_info", lambda: WITHOUT)
    write_manifest(write_toy_version(tmp_path, 1), precision=precision)
    write_config(tmp_path)
    result = invoke("serve", "--repository", str(tmp_path), "--engine", "local", "--dry-run")
    assert result.status == 0, result.err
    assert " ".join(result.err.split()).count(WORD) == count


@pytest.mark.parametrize(
    ("built", "chosen", "count"), [("int8", "f16", 1), ("int8", "bf16", 0), ("fp32", "f16", 0)]
)
def test_serve_warns_of_int8_in_f16(
    invoke: Invoke, tmp_path: Path, built: str, chosen: str, count: int
) -> None:
    write_manifest(write_toy_version(tmp_path, 1), precision=built)
    write_config(tmp_path)
    options = ("--engine", "local", "--precision", chosen, "--dry-run")
    result = invoke("serve", "--repository", str(tmp_path), *options)
    assert result.status == 0, result.err
    words = " ".join(result.err.split())
    assert words.count("minutes for a question to an INT8 version") == count


@pytest.mark.thorough
@pytest.mark.parametrize(("precision", "count"), [("int8", 1), ("fp32", 0)])
def test_a_build_says_it_where_it_makes_int8(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, count: int
) -> None:
    from tests.support.families import FAMILIES

    monkeypatch.setattr(_hardware, "_cpu_info", lambda: WITHOUT)
    FAMILIES[0].write(tmp_path / "checkpoint")
    data = str(write_squad(tmp_path / "questions.json", copies=4))
    source = ("--source", str(tmp_path / "checkpoint"), "--data", data, "--eval-data", data)
    places = ("--repository", str(tmp_path / "repository"), "--work-dir", str(tmp_path / "work"))
    options = ("--precision", precision, "--set", "gate.max_unknown=10", "--allow-leakage")
    result = invoke("build", *source, *places, *options, "--dry-run")
    assert result.status == 0, result.err
    assert " ".join(result.err.split()).count(WORD) == count
