from __future__ import annotations

import json
from pathlib import Path

from bertqa.repository import Card
from tests.cli.conftest import Invoke
from tests.support.engines import Served


def test_a_server_tells_its_versions_and_which_one_is_the_default(
    invoke: Invoke, served: Served
) -> None:
    result = invoke("versions", "--url", served.rest_url, "--json")

    assert result.status == 0
    assert [
        (entry["version"], entry["state"], entry["is_default"], entry["precision"])
        for entry in json.loads(result.out)
    ] == [(1, "AVAILABLE", False, "fp32"), (2, "AVAILABLE", True, "fp32")]


def test_a_server_s_versions_have_the_size_and_the_date_that_their_own_cards_tell(
    invoke: Invoke, served: Served, tmp_path: Path
) -> None:
    for version, precision in ((1, "fp32"), (2, "int8")):
        directory = tmp_path / "bert-qa" / str(version)
        directory.mkdir(parents=True)
        card = Card("bert-qa", version, precision, "openvino", "tests", "2026-08-21T10:30:00Z", {})
        (directory / "card.json").write_text(card.to_json(), encoding="utf-8")
        (directory / "model.bin").write_bytes(bytes(3_000_000))
    asked = ("versions", "--url", served.rest_url, "--repository", str(tmp_path))

    ours, of_another_repository = json.loads(invoke(*asked, "--json").out)

    assert ours["size"] > 3_000_000
    assert ours["published"] == "2026-08-21T10:30:00Z"
    assert (of_another_repository["size"], of_another_repository["published"]) == (None, None)
    assert "3.0 MB" in invoke(*asked).out


def test_a_model_that_is_not_served_is_named_with_those_that_are(
    invoke: Invoke, served: Served
) -> None:
    result = invoke("versions", "--url", served.rest_url, "--model", "other")

    assert result.status == 1
    assert "does not serve the model 'other' (it has: bert-qa)" in result.err


def test_a_server_that_is_not_there_is_status_1(invoke: Invoke, free_port: int) -> None:
    result = invoke("versions", "--url", f"http://127.0.0.1:{free_port}")

    assert result.status == 1
    assert f"Nobody answers at http://127.0.0.1:{free_port}" in result.err


def test_a_repository_that_is_not_there_is_status_1(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("versions", "--repository", str(tmp_path / "absent"))

    assert result.status == 1
    assert "There is no model repository" in result.err


def test_an_empty_repository_has_no_versions(invoke: Invoke, tmp_path: Path) -> None:
    assert json.loads(invoke("versions", "--repository", str(tmp_path), "--json").out) == []
