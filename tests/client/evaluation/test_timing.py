from __future__ import annotations

import pytest

from bertqa.evaluation import Samples, take_turns, time_call


def test_samples_are_summed_up() -> None:
    samples = Samples((4.0, 1.0, 2.0))
    assert samples.median == 2
    assert samples.spread == 1.5
    assert samples.quantile(1) == 4
    assert samples.quantile(0.25) == 1.5


def test_a_short_call_is_repeated_until_the_time_is_over() -> None:
    calls: list[None] = []
    seconds = time_call(lambda: calls.append(None), at_least=0.02)
    assert len(calls) > 1
    assert seconds * len(calls) >= 0.02
    calls.clear()
    time_call(lambda: calls.append(None))
    assert len(calls) == 1


@pytest.mark.parametrize(("alternate", "order"), [(False, "ababab"), (True, "abbaab")])
def test_several_are_measured_in_turns(alternate: bool, order: str) -> None:
    met: list[str] = []
    turns: list[int] = []

    def measure(name: str) -> int:
        met.append(name)
        return len(met)

    results = take_turns(
        {"a": lambda: measure("a"), "b": lambda: measure("b")},
        3,
        alternate=alternate,
        on_turn=turns.append,
    )
    assert "".join(met) == order
    assert turns == [1, 2, 3]
    assert sorted(results["a"] + results["b"]) == [1, 2, 3, 4, 5, 6]
