"""How a build says what it is doing, so that any front end can show it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done; of a countable stage also how far it is, and a short note.

    Events of one stage come in a row. `total` is None where there is nothing to count.
    """

    stage: str
    done: int = 0
    total: int | None = None
    note: str = ""


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Show nothing."""


class ProgressCallback(TrainerCallback):
    """Tells of a training: its steps, its loss, and the time that is left."""

    def __init__(self, stage: str, on_progress: OnProgress) -> None:
        self.stage = stage
        self.on_progress = on_progress
        self._loss: float | None = None
        self._begun = time.monotonic()
        self._first_step = 0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Start the clock; a training that goes on does not begin at step 0."""
        self._begun, self._first_step = time.monotonic(), state.global_step
        self.on_progress(Progress(self.stage, state.global_step, state.max_steps))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the latest loss."""
        self._loss = (logs or {}).get("loss", self._loss)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Report of the step."""
        taken = state.global_step - self._first_step
        left = (time.monotonic() - self._begun) / taken * (state.max_steps - state.global_step)
        loss = "" if self._loss is None else f"loss {self._loss:.3f}, "
        note = f"{loss}{_duration(left)} left"
        self.on_progress(Progress(self.stage, state.global_step, state.max_steps, note))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
