from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.engines import Served

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"


@pytest.fixture
def command(served: Served, short_loop: None) -> tuple[str, ...]:
    """Time a few questions."""
    return (
        *("bench", "client", "--url", served.rest_url),
        *("--data", str(DATA), "--questions", "20"),
    )


def test_figures_are_measured_against_their_targets(
    invoke: Invoke, command: tuple[str, ...], served: Served
) -> None:
    result = invoke(*command, "--alone", str(served.repository), "--version", "2", "--json")
    assert result.status == 0, result.err
    measured = json.loads(result.out)
    assert measured["single"]["questions"] == measured["stream"]["questions"] == 20
    assert measured["loop"]["characters"] == 100_000
    values = {
        "own_ms": measured["single"]["own_ms"],
        "own_on_new_ms": measured["single"]["own_on_new_ms"],
        "share_of_engine": measured["stream"]["share_of_engine"],
        "loop_delay_ms": measured["loop"]["own_ms"],
    }
    limits = {}
    for target in measured["targets"]:
        name, value = target["figure"], target["value"]
        assert value == values.pop(name)
        limits[name] = target["below"] or target["at_least"]
        met = value < limits[name] if target["below"] else value >= limits[name]
        assert target["met"] is met
    assert not values
    assert limits == {
        "own_ms": 0.4,
        "own_on_new_ms": 0.4,
        "share_of_engine": 0.95,
        "loop_delay_ms": 5.0,
    }


def test_figures_and_targets_are_shown_as_text(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke(*command)
    assert result.status == 0, result.err
    for part in (
        "tokenizing",
        "answer_many:",
        "A context of 100,000 characters",
        "own time, contexts in file order",
        "own time, each context new",
        "with random logits in place of the model",
        "share of the engine",
        "below 0.400 ms",
        "at least 95%",
        "below 5.0 ms",
        "pass --alone",
    ):
        assert part in " ".join(result.out.split()), part
