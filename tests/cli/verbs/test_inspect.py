from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from bertqa.artifact import Repository
from bertqa_cli.verbs.inspect import start_netron
from tests.cli.conftest import Invoke


def test_two_versions_are_compared_in_words(invoke: Invoke, demo_repository: Repository) -> None:
    result = invoke("inspect", "1", "2", "--repository", str(demo_repository.root))

    assert result.status == 0
    assert "0 of 49 matrix products in INT8" in result.out
    assert "the version is not quantised" in result.out
    assert "FakeQuantize" in result.out
    assert "QuantizeLinear (ONNX)" in result.out
    assert "encoder.layer.5.output.dense" in result.out


def test_json_and_a_report(invoke: Invoke, demo_repository: Repository, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = invoke(
        *("inspect", "1", "2", "--repository", str(demo_repository.root)),
        *("--report", str(page), "--json"),
    )

    assert result.status == 0
    document = json.loads(result.out)
    assert (document["before"]["precision"], document["after"]["precision"]) == ("FP32", "INT8")
    assert document["after"]["quantizers"]["FakeQuantize"] > 30
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_what_is_not_there_is_status_1(
    invoke: Invoke, demo_repository: Repository, tmp_path: Path
) -> None:
    result = invoke("inspect", "1", "9", "--repository", str(demo_repository.root))
    assert result.status == 1
    assert "has no version 9 of bert-qa (published: 1, 2)" in result.err

    result = invoke(
        *("inspect", "1", "2", "--repository", str(demo_repository.root)),
        *("--report", str(tmp_path / "absent" / "report.html")),
    )
    assert result.status == 2
    assert "cannot be written: there is no directory" in result.err


def test_netron_serves_both_graphs(demo_repository: Repository) -> None:
    import netron

    addresses = start_netron(demo_repository, 1, 2, browse=False)
    try:
        assert len(set(addresses)) == 2
        for address in addresses:
            assert "Netron" in httpx.get(address).text
            assert b"FakeQuantize" in httpx.get(f"{address}/data/model.xml").content or (
                address == addresses[0]
            )
    finally:
        netron.stop()


def test_versions_of_another_name_are_found(
    invoke: Invoke, demo_repository: Repository, tmp_path: Path
) -> None:
    root = demo_repository.root
    for name in ("bert-qa", "bert-qa-onnx"):
        (tmp_path / name.replace("bert-qa", "other")).symlink_to(root / name)
    page = tmp_path / "report.html"
    there = ("--repository", str(tmp_path), "--model", "other")

    one = invoke("inspect", "2", *there, "--json")
    assert one.status == 0, one.err
    assert json.loads(one.out)["onnx_operations"]
    two = invoke("inspect", "1", "2", *there, "--report", str(page))
    assert two.status == 0, two.err
    assert page.is_file()
    none = invoke("inspect", "2", "--repository", str(root), "--model", "other")
    assert "has no version 2 of other" in none.err


def test_one_version_is_shown_layer_by_layer(
    invoke: Invoke, demo_repository: Repository, tmp_path: Path
) -> None:
    plot = tmp_path / "layers.svg"
    arguments = ("--repository", str(demo_repository.root), "--plot", str(plot))
    result = invoke("inspect", "2", "--layers", *arguments)

    assert result.status == 0, result.err
    assert "encoder.layer.5.output.dense" in result.out
    assert "of 49 matrix products in INT8" in result.out
    rows = [line for line in result.out.splitlines() if line.startswith("│")]
    assert max(map(len, rows)) <= 80
    assert plot.read_text(encoding="utf-8").startswith("<?xml")
    document = json.loads(invoke("inspect", "2", *arguments, "--json").out)
    assert document["sensitivity"] is None
    assert document["products"][0]["ranges"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["1", "2", "--layers"], "--layers is for one version"),
        (["1", "2", "--sensitivity"], "--sensitivity is for one version"),
        (["1", "--report", "page.html"], "--report compares two versions"),
        (["1", "--sensitivity"], "with --data"),
        (["1", "--questions", "20"], "--questions is for --sensitivity"),
        (["1", "--again"], "--again is for --sensitivity"),
        (["1", "--sensitivity", "--data", "absent.json"], "absent.json"),
        (["1", "--plot", "layers.png"], "layers.png would hold an SVG"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    invoke: Invoke, arguments: list[str], complaint: str
) -> None:
    result = invoke("inspect", *arguments, "--repository", "absent")
    assert (result.status, result.out) == (2, "")
    assert complaint in result.err
