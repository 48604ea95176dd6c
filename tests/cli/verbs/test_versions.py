from __future__ import annotations

import json
from pathlib import Path

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
