"""What a structure is worth: against least squares, which the method stands for."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from bertqa_build.pruning.second_order import Moments, refit, removal


def data(inputs: int, tokens: int = 4000) -> Tensor:
    """Return correlated inputs whose means are not zero, FP32 `[tokens, inputs]`."""
    chance = torch.Generator().manual_seed(1)
    mixing = torch.randn(inputs, inputs, generator=chance)
    return torch.randn(tokens, inputs, generator=chance) @ mixing + 0.5


def layer(inputs: int, outputs: int = 5) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(2)
    return (
        torch.randn(outputs, inputs, generator=chance),
        torch.randn(outputs, generator=chance),
    )


def moments_of(inputs: Tensor) -> Moments:
    moments = Moments.empty(inputs.shape[1])
    for part in inputs.split(1000):  # type: ignore[no-untyped-call]
        moments = moments.plus(part)
    return moments


def error(inputs: Tensor, channels: Tensor, weight: Tensor, bias: Tensor) -> float:
    """Return the squared error of the best layer on some channels, found by least squares."""
    targets = (inputs @ weight.T + bias).double()
    rows = torch.cat([inputs[:, channels], torch.ones(len(inputs), 1)], dim=1).double()
    found = rows @ torch.linalg.lstsq(rows, targets).solution
    variance = targets.var(dim=0, correction=0).sum()
    return float(((found - targets) ** 2).sum(1).mean() / variance)


def test_what_is_left_is_refitted_as_least_squares_does() -> None:
    inputs, (weight, bias) = data(12), layer(12)
    channels = torch.tensor([0, 2, 3, 7, 8])

    refitted, shift = refit(weight, bias, moments_of(inputs), channels)

    targets = inputs @ weight.T + bias
    found = inputs[:, channels] @ refitted.T + shift
    ours = float(((found - targets) ** 2).sum(1).mean() / targets.var(0, correction=0).sum())
    assert ours == pytest.approx(error(inputs, channels, weight, bias), rel=1e-3)


def test_the_errors_are_those_of_the_best_layer_without_each_group() -> None:
    group = 3
    inputs, (weight, bias) = data(12), layer(12)

    found = removal(weight, bias, moments_of(inputs), group)

    assert sorted(found.order) == [0, 1, 2, 3]
    for count in (3, 2, 1):
        kept = found.kept(count)
        channels = torch.cat([torch.arange(group) + group * each for each in kept])
        expected = error(inputs, channels, weight, bias)
        assert float(found.errors[4 - count]) == pytest.approx(expected, rel=0.02)
    assert float(found.errors[0]) == 0.0
    assert float(found.errors[4]) == pytest.approx(1.0, rel=0.02)


def test_the_group_that_goes_first_is_the_one_that_costs_least() -> None:
    group = 2
    inputs, (weight, bias) = data(10), layer(10)

    first = removal(weight, bias, moments_of(inputs), group).order[0]

    costs = {}
    for gone in range(5):
        channels = torch.cat([torch.arange(2) + 2 * each for each in range(5) if each != gone])
        costs[gone] = error(inputs, channels, weight, bias)
    assert first == min(costs, key=lambda each: costs[each])


def test_neurons_that_say_the_same_or_nothing_cost_nothing() -> None:
    chance = torch.Generator().manual_seed(3)
    inputs = torch.randn(4000, 40, generator=chance)
    inputs[:, 20:30] = 2 * inputs[:, :10]  # copies
    inputs[:, 30:] = 0.7  # constants
    weight, bias = layer(40)

    found = removal(weight, bias, moments_of(inputs), 1)

    assert float(found.errors[20]) < 1e-3 < float(found.errors[24])
    kept = set(found.kept(20))
    assert not kept & set(range(30, 40))
    for one, other in itertools.product(range(10), range(20, 30)):
        assert one + 20 != other or not {one, other} <= kept
    refitted, shift = refit(weight, bias, moments_of(inputs), torch.tensor(sorted(kept)))
    found_outputs = inputs[:, sorted(kept)] @ refitted.T + shift
    assert torch.allclose(found_outputs, inputs @ weight.T + bias, atol=0.1)


def test_a_layer_of_which_nothing_is_left_says_its_mean() -> None:
    inputs, (weight, bias) = data(6), layer(6)
    none = torch.tensor([], dtype=torch.int64)
    refitted, shift = refit(weight, bias, moments_of(inputs), none)
    assert refitted.shape == (5, 0)
    assert torch.allclose(shift, (inputs @ weight.T + bias).mean(0), atol=1e-3)
