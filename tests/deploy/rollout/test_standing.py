from __future__ import annotations

import pytest

from bertqa_deploy.rollout import Memory, Phase, Standing

GOOD, GOAL, SPLIT = {1: 100.0}, {2: 100.0}, {1: 90.0, 2: 10.0}


def standing(memory: Memory, served: frozenset[int] | None = frozenset({1, 2})) -> Standing:
    return Standing("simulated", SPLIT, memory, served)


@pytest.mark.parametrize(
    ("memory", "phase", "previous"),
    [
        (Memory(SPLIT), Phase.COMPLETE, None),
        (Memory(SPLIT, None, GOOD), Phase.COMPLETE, GOOD),
        (Memory(GOOD, GOAL), Phase.UNDER_WAY, GOOD),
        (Memory(GOOD, GOAL, held="Too few."), Phase.HELD, GOOD),
        (Memory(GOOD, GOAL, GOAL, returning=True), Phase.RETURNING, GOAL),
    ],
)
def test_where_back_leads_from_each_phase(
    memory: Memory, phase: Phase, previous: dict[int, float] | None
) -> None:
    found = standing(memory)
    assert (found.phase, found.previous) == (phase, previous)
    document = found.to_dict()
    assert (document["phase"], document["previous"]) == (phase, previous)
    assert document["held_reason"] == (memory.held or None)


def test_traffic_to_a_version_that_cannot_be_asked_is_a_warning() -> None:
    assert standing(Memory(SPLIT)).warnings == []
    assert standing(Memory(SPLIT), None).warnings == []
    assert standing(Memory(SPLIT), frozenset({1})).warnings == [
        "Version 2 has traffic, and cannot be asked: use --back."
    ]
