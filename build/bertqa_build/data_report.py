"""What a recipe's data are, in sentences, before a model learns from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bertqa.evaluation import SquadDataset
from bertqa_build.checkpoint import Checkpoint, require_positions
from bertqa_build.data import Labels
from bertqa_build.recipe import Recipe
from bertqa_build.recipe_data import RecipeData
from bertqa_build.stages import calibration_windows, stage_windows
from bertqa_build.wording import count, some_of

_PURPOSES = {
    "finetune": "Fine-tune",
    "quantization": "Calibrate",
    "qat": "Train in INT8",
    "pruning": "Distil",
}
"""What a recipe's sections read questions for, in the order of a build."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one stage of a build reads.

    Attributes:
        purpose: What for, such as "Calibrate".
        labels: What became of the questions' answers; their windows are all that there are.
        used: How many windows are drawn of them; 0 where questions are asked, as in an evaluation.
    """

    purpose: str
    labels: Labels
    used: int

    @property
    def sentences(self) -> Iterator[str]:
        """The part in a sentence, and one more for each kind of question that teaches nothing."""
        labels = self.labels
        windows = ""
        if self.used:
            of_all = f" of {labels.windows}" if self.used != labels.windows else ""
            windows = f", {self.used}{of_all} windows"
        yield (
            f"{self.purpose}: {count(labels.questions, 'question')}{windows}, "
            f"{labels.without_answer} without an answer"
        )
        if labels.dropped:
            yield (
                f"{self.purpose}: left out {count(len(labels.dropped), 'question')} whose whole "
                f"answer the tokenizer drops ({some_of(labels.dropped)})"
            )
        if labels.cut:
            yield (
                f"{self.purpose}: no window holds the whole answer of "
                f"{count(len(labels.cut), 'question')} ({some_of(labels.cut)}): it is longer than "
                "what two windows share, or than a window. A larger doc_stride helps"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON output."""
        return {"purpose": self.purpose, **asdict(self.labels), "used_windows": self.used}


def parts_of(recipe: Recipe, data: RecipeData, checkpoint: Checkpoint) -> list[Part]:
    """Cut a recipe's data into windows, which are kept for the stages, and count them.

    Args:
        recipe: The recipe.
        data: Its data.
        checkpoint: What the recipe starts from.

    Returns:
        A part for each stage that learns, and the evaluation.

    Raises:
        BuildError: A window is longer than the model's positions.
        DataError: The data cannot be used.
    """
    windows = {
        name: stage_windows(recipe, data, checkpoint.tokenizer_json, settings)
        for name, settings in recipe.trainings.items()
    }
    for name, each in windows.items():
        longest = max((len(window.input_ids) for window in each.windows), default=0)
        wish = f"{name}.max_seq_len lets a window of the data have {longest} tokens"
        require_positions(checkpoint, wish, longest)
    if recipe.makes_int8:
        windows["quantization"] = calibration_windows(recipe, data, checkpoint.tokenizer_json)
    parts = [
        Part(purpose, windows[name].labels, len(windows[name]))
        for name, purpose in _PURPOSES.items()
        if name in windows
    ]
    return [*parts, Part("Evaluate", _labels(data.evaluation), 0)]


def sentences_of(data: RecipeData, parts: list[Part]) -> Iterator[str]:
    """Yield what a user has to know of a recipe's data.

    Args:
        data: The data.
        parts: What `parts_of` returned.
    """
    for part in parts:
        yield from part.sentences
    yield from (each.rstrip(".") for each in data.warnings)
    if data.overlap.sentence:
        yield data.overlap.sentence.rstrip(".")


def _labels(dataset: SquadDataset) -> Labels:
    return Labels(len(dataset), without_answer=sum(each.is_impossible for each in dataset))
