"""What leaves the client's parsers, whatever a server sends; `make fuzz` tries a million inputs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.fuzz_client import PARSERS, run


@pytest.mark.parametrize("inputs", [300, pytest.param(1_000, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_damaged_answers(name: str, inputs: int) -> None:
    outcomes = run(name, inputs=inputs, number=15)

    assert outcomes["used"] > 10
    assert sum(outcomes.values()) - outcomes["used"] > 100


def test_the_tool_counts_what_became_of_the_inputs() -> None:
    arguments = [sys.executable, "-m", "tools.fuzz_client", "--inputs", "60", "--seed", "3"]

    done = subprocess.run(arguments, capture_output=True, text=True, check=True)

    assert "inputs, 0 minutes left" in done.stdout
    for name in PARSERS:
        assert f"\n{name}: " in done.stdout


def test_the_same_seed_makes_the_same_inputs() -> None:
    assert run("gRPC response", 50, 1) == run("gRPC response", 50, 1)
