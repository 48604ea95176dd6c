"""What is refused before anything is done: splits that the target cannot have."""

from __future__ import annotations

import pytest

from bertqa_deploy.errors import ClusterError
from tests.deploy.rollout.simulated import SimulatedTarget
from tests.deploy.rollout.test_machine import rollout


def test_a_split_on_the_way_that_the_target_cannot_have_is_refused_at_once() -> None:
    target = SimulatedTarget()
    target.whole_only = True

    with pytest.raises(ClusterError, match="One version has all traffic"):
        rollout(target, steps=(10, 100)).move({2: 100.0})
    assert target.effects == 0

    assert rollout(target, steps=(100,)).move({2: 100.0}).split == {2: 100.0}
    assert rollout(target, steps=(10, 100)).back().split == {1: 100.0}
