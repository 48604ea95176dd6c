"""Running a model over calibration data to learn what its layers' inputs are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bertqa.artifact import ATTENTION_MASK
from bertqa_build.data import TrainingWindows, collate
from bertqa_build.model import SpanModel
from bertqa_build.pruning.second_order import Moments

_BATCH = 16


def batches(model: SpanModel, windows: TrainingWindows) -> Iterator[dict[str, Tensor]]:
    """Yield the inputs of a model for some windows, those of like length together.

    Args:
        model: The model.
        windows: Windows as `training_windows` returns them.
    """
    samples = [windows[index] for index in range(len(windows))]
    samples.sort(key=lambda sample: len(sample[model.inputs[0]]))
    for first in range(0, len(samples), _BATCH):
        batch = collate(samples[first : first + _BATCH])
        yield {name: batch[name] for name in model.inputs}


def input_moments(
    model: SpanModel,
    linears: Sequence[nn.Linear],
    inputs: Sequence[dict[str, Tensor]],
    on_batch: Callable[[int], None] = lambda _: None,
) -> list[Moments]:
    """Return the second moments of linear layers' inputs over all tokens that are not padding.

    Args:
        model: The model that has them.
        linears: The layers.
        inputs: The model's inputs, in batches.
        on_batch: Called with the number of batches that are done.

    Returns:
        The moments of each layer's inputs.
    """
    moments = [Moments.empty(linear.in_features) for linear in linears]
    for done, batch in enumerate(inputs, start=1):
        is_token = batch[ATTENTION_MASK].bool()
        with torch.no_grad(), _listening(linears) as heard:
            model(**batch)
        for index, hidden in heard.items():
            moments[index] = moments[index].plus(hidden[is_token])
        on_batch(done)
    return moments


@contextmanager
def _listening(linears: Sequence[nn.Linear]) -> Iterator[dict[int, Tensor]]:
    """Yield a mapping that gets the input of each layer in the block, by its index."""
    heard: dict[int, Tensor] = {}

    def hook(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hear(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            heard[index] = inputs[0].detach()

        return hear

    handles = [each.register_forward_pre_hook(hook(i)) for i, each in enumerate(linears)]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
