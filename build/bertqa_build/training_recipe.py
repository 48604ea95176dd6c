"""The keys of a recipe's trainings."""

from __future__ import annotations

from pydantic import Field

from bertqa_build.data_recipe import Section


class Steps(Section):
    """The settings that all trainings share."""

    max_windows: int | None = Field(
        default=None,
        ge=1,
        description="Train on this many windows, drawn by the seed; the default is all.",
    )
    learning_rate: float = Field(gt=0, lt=1, description="Peak learning rate of AdamW.")
    warmup_steps: int = Field(
        default=0, ge=0, description="Steps of linear warm-up; then linear decay."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Weight decay of AdamW.")
    batch_size: int = Field(default=32, ge=1, description="Windows in a step.")
    max_seq_len: int = Field(default=384, ge=32, le=512, description="Longest window, in tokens.")
    doc_stride: int = Field(
        default=128, ge=1, description="Tokens that two windows in a row share."
    )
    freeze_embeddings: bool = Field(default=False, description="Do not train the embeddings.")
    checkpoint_steps: int = Field(
        default=200,
        ge=1,
        description="Steps between checkpoints: the most that an interruption loses.",
    )


class Epochs(Section):
    """How long a training is."""

    epochs: float = Field(default=1.0, gt=0, description="Passes over the windows.")


class Training(Steps, Epochs):
    """The settings that fine-tuning and quantisation-aware training share."""


class Distillation(Section):
    """How much the quantised model learns from the FP32 model.

    The loss is `(1 - weight) * CE + weight * temperature**2 * KL(teacher || student)`, each the
    mean over the start and the end, as in Hinton et al., "Distilling the Knowledge in a Neural
    Network" (2015).
    """

    weight: float = Field(default=0.9, ge=0, le=1, description="Share of the teacher in the loss.")
    temperature: float = Field(default=2.0, gt=0, description="The divisor of both models' logits.")


class QuantizationAwareTraining(Training):
    """Training with the quantisers in place."""

    distillation: Distillation | None = Field(
        default_factory=Distillation,
        description="Learning from the FP32 model; `null` trains on the gold answers alone.",
    )


def check_windows(max_seq_len: int, doc_stride: int, max_question_len: int) -> None:
    """Refuse windows that do not move on.

    Args:
        max_seq_len: The longest window, in tokens.
        doc_stride: Tokens that two windows in a row share.
        max_question_len: The longest question, in tokens.

    Raises:
        ValueError: They do not.
    """
    room = max_seq_len - max_question_len - 3
    if doc_stride >= room:
        raise ValueError(
            f"doc_stride {doc_stride} is too large: a window of {max_seq_len} tokens has "
            f"room for {room} of the context beside a question of {max_question_len}"
        )
