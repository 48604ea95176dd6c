"""What a structure is worth, by the second-order information of Optimal Brain Surgeon.

A linear layer `y = W x + b` mixes structures: the heads, or the neurons, are groups of its inputs.
Without some of them, the squared error of `y` over calibration data is least for a `W` that depends
on nothing but the second moments of `x`. They are removed one after the other, always the one whose
removal adds least to that error (Hassibi and Stork, 1993; Kurtic et al., 2023).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_DAMPING = 1e-4
# Neurons that are removed in one step, at least, and as a share of those that are left. What the
# first does to the worth of the others in the step is made good exactly in their weights, and
# overlooked in the choice alone.
_NEURONS_AT_ONCE = 8
_SHARE_AT_ONCE = 1 / 48


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Second moments of a layer's inputs, with a constant 1 as the last of them, over tokens.

    The constant lets the bias take what a removed structure added on average.

    Attributes:
        products: FP64 `[inputs + 1, inputs + 1]`: the sum of the outer products.
        tokens: How many they are of.
    """

    products: Tensor
    tokens: int

    @classmethod
    def empty(cls, inputs: int) -> Moments:
        """Return the moments of no token."""
        return cls(torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64), 0)

    def plus(self, inputs: Tensor) -> Moments:
        """Return the moments with some tokens more.

        Args:
            inputs: FP32 `[tokens, inputs]`.
        """
        ones = torch.ones(len(inputs), 1)
        extended = torch.cat([inputs, ones], dim=1)
        products = self.products + (extended.T @ extended).double()
        return Moments(products, self.tokens + len(inputs))

    @property
    def damped(self) -> Tensor:
        """The products, with a little added to the diagonal so that they have an inverse."""
        products = self.products / max(self.tokens, 1)
        mean = products.diagonal()[:-1].mean().clamp(min=1e-12)
        added = torch.full((len(products),), float(_DAMPING * mean), dtype=torch.float64)
        added[-1] = 1e-9
        return products + added.diag()


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """The structures of one layer in the order in which they are removed.

    Attributes:
        order: The structures, the least worth first.
        errors: FP64 `[structures + 1]`: the squared error of the layer's output without the first
            so many, as a share of the output's own variance.
    """

    order: tuple[int, ...]
    errors: Tensor

    def kept(self, count: int) -> list[int]:
        """Return the structures that are left, in ascending order.

        Args:
            count: How many are left.
        """
        return sorted(self.order[len(self.order) - count :])


def removal(weight: Tensor, bias: Tensor, moments: Moments, group: int) -> Removal:
    """Remove the structures of a layer one after the other.

    Args:
        weight: FP32 `[outputs, inputs]`.
        bias: FP32 `[outputs]`.
        moments: Those of its inputs.
        group: The number of inputs of a structure: a head's channels, or 1 for neurons.

    Returns:
        The order, and what each removal costs.
    """
    left = torch.cat([weight, bias[:, None]], dim=1).double()
    damped = moments.damped
    variance = _variance(left, damped)
    inverse = torch.linalg.inv(damped)
    names = list(range(weight.shape[1] // group))
    order: list[int] = []
    errors = [0.0]
    while names:
        costs = _costs(left, inverse, len(names), group)
        at_once = min(_at_once(len(names)) if group == 1 else 1, len(names))
        chosen = costs.topk(at_once, largest=False).indices
        added = costs[chosen].cumsum(0) + errors[-1]
        if at_once > 1:
            total = _joint_cost(left, inverse, chosen)
            # Each step's share of the exact cost of all together.
            added = errors[-1] + (added - errors[-1]) * (total / (added[-1] - errors[-1]))
        left, inverse = _without(left, inverse, chosen, group)
        order += [names[index] for index in chosen.tolist()]
        errors += added.tolist()
        gone = set(chosen.tolist())
        names = [name for index, name in enumerate(names) if index not in gone]
    return Removal(tuple(order), torch.tensor(errors, dtype=torch.float64) / variance)


def refit(
    weight: Tensor, bias: Tensor, moments: Moments, channels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the weights that make the best of the inputs that are left.

    Args:
        weight: FP32 `[outputs, inputs]`: those of the whole layer.
        bias: FP32 `[outputs]`.
        moments: Those of the whole layer's inputs.
        channels: INT64 `[channels]`: the inputs that are left.

    Returns:
        FP32 `[outputs, channels]` and `[outputs]`.
    """
    whole = torch.cat([weight, bias[:, None]], dim=1).double()
    damped = moments.damped
    rows = torch.cat([channels, torch.tensor([weight.shape[1]])])
    targets = (whole @ damped[:, rows]).T
    solved = torch.cholesky_solve(targets, torch.linalg.cholesky(damped[rows][:, rows])).T
    return solved[:, :-1].float(), solved[:, -1].float()


def _variance(weight: Tensor, damped: Tensor) -> float:
    """Return the variance of a layer's outputs about their means, summed over the outputs."""
    second = ((weight @ damped) * weight).sum()
    mean = weight @ damped[:, -1]
    return float((second - (mean * mean).sum()).clamp(min=1e-12))


def _costs(weight: Tensor, inverse: Tensor, count: int, group: int) -> Tensor:
    """Return what the removal of each structure would add to the squared error."""
    if group == 1:
        return (weight[:, :-1] ** 2).sum(0) / inverse.diagonal()[:-1]
    blocks = torch.stack(
        [_block(inverse, torch.arange(at * group, (at + 1) * group)) for at in range(count)]
    )
    columns = weight[:, :-1].T.reshape(count, group, -1)
    costs: Tensor = (columns * torch.linalg.solve(blocks, columns)).sum((1, 2))
    return costs


def _joint_cost(weight: Tensor, inverse: Tensor, chosen: Tensor) -> float:
    columns = weight[:, chosen].T
    return float((columns * torch.linalg.solve(_block(inverse, chosen), columns)).sum())


def _at_once(neurons: int) -> int:
    return max(_NEURONS_AT_ONCE, int(_SHARE_AT_ONCE * neurons))


def _without(weight: Tensor, inverse: Tensor, chosen: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Return weights and inverse without some structures, and with what makes up for them."""
    indices = (chosen[:, None] * group + torch.arange(group)).flatten()
    keep = torch.ones(weight.shape[1], dtype=torch.bool)
    keep[indices] = False
    solved = torch.linalg.solve(_block(inverse, indices), inverse[indices][:, keep])
    return (
        weight[:, keep] - weight[:, indices] @ solved,
        inverse[keep][:, keep] - inverse[keep][:, indices] @ solved,
    )


def _block(matrix: Tensor, indices: Tensor) -> Tensor:
    return matrix[indices][:, indices]
