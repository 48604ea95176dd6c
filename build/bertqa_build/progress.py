"""The progress of a training, as events that any front end can show."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bertqa._progress import OnProgress, Progress


class ProgressCallback(TrainerCallback):
    """Reports a training's steps, its loss, and the time that is left.

    Args:
        stage: The name of the training.
        on_progress: Called at the start and after each step.
    """

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
        """Start the clock, also where a training resumes; see `TrainerCallback.on_train_begin`."""
        self._begun, self._first_step = time.monotonic(), state.global_step
        self.on_progress(Progress(self.stage, state.global_step, state.max_steps, unit="steps"))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the latest loss; see `TrainerCallback.on_log`."""
        self._loss = (logs or {}).get("loss", self._loss)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Report the step; see `TrainerCallback.on_step_end`."""
        taken = state.global_step - self._first_step
        left = (time.monotonic() - self._begun) / taken * (state.max_steps - state.global_step)
        loss = "" if self._loss is None else f"loss {self._loss:.3f}, "
        note = f"{loss}{_duration(left)} left"
        self.on_progress(Progress(self.stage, state.global_step, state.max_steps, "steps", note))


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
