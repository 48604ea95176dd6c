from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

RECIPES = Path(__file__).parents[3] / "build" / "recipes"


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return [
        *("--repository", str(tmp_path / "repository")),
        *("--work-dir", str(tmp_path / "work")),
    ]


@pytest.mark.parametrize(
    ("override", "status", "expected"),
    [
        ("gate.max_f1_drop=-1", 1, "gate.max_f1_drop is -1"),
        ("quantisation.preset=mixed", 1, "Did you mean quantization?"),
        ("source=no/such-model-anywhere", 1, "could not be downloaded"),
        ("source=./nowhere", 2, "There is no directory"),
        ("data.evaluation=absent.json", 1, "absent.json"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_clear_error_and_leaves_nothing(
    invoke: Invoke, places: list[str], tmp_path: Path, override: str, status: int, expected: str
) -> None:
    result = invoke("build", str(RECIPES / "demo.yaml"), "--set", override, *places)

    assert result.status == status
    assert expected in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "repository").exists()


def test_a_recipe_that_is_not_there_is_named(invoke: Invoke, places: list[str]) -> None:
    result = invoke("build", "absent.yaml", *places)

    assert result.status == 2
    assert "'absent.yaml' does not exist" in result.err
