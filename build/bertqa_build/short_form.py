"""A recipe without a file: from a checkpoint, data, and a word on what to make of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertqa._data_files import DataAddress, splits_of
from bertqa.evaluation import EVALUATION_SPLITS
from bertqa_build.checkpoint_config import read_config
from bertqa_build.checkpoint_source import locate
from bertqa_build.checkpoint_weights import has_head
from bertqa_build.errors import RecipeError
from bertqa_build.families import family_of
from bertqa_build.recipe import Model, Recipe, recipe_of
from bertqa_build.yaml_document import YamlDocument

OPTIONS = "The options"
"""What messages on a recipe without a file begin with."""

HELD_OUT = 0.2
_SHORTEST_WINDOW = 32
_FINETUNE: Mapping[str, Any] = {
    "epochs": 2,
    "learning_rate": 3.0e-5,
    "weight_decay": 0.01,
    "batch_size": 16,
}
_QAT: Mapping[str, Any] = {
    "epochs": 1,
    "learning_rate": 1.0e-5,
    "batch_size": 16,
    "freeze_embeddings": True,
}


@dataclass(frozen=True, slots=True)
class ShortForm:
    """What a user asks for in place of a recipe.

    Attributes:
        source: The checkpoint, as in a recipe.
        data: Where questions are, to learn from and, without `evaluation`, to evaluate on.
        evaluation: Where questions to evaluate on are.
        precision: `int8` or `fp32`.
        method: `ptq` for quantisation alone, `qat` to train on with the quantisers.
        directory: What relative paths start from.
    """

    source: str
    data: tuple[str, ...]
    evaluation: str | None = None
    precision: str = "int8"
    method: str = "ptq"
    directory: Path = field(default_factory=Path.cwd)


def short_recipe(form: ShortForm, overrides: Sequence[str] = ()) -> tuple[Recipe, list[str]]:
    """Return the recipe that a short form stands for.

    Args:
        form: What is asked for.
        overrides: Values that replace its own, as `load_recipe` takes them.

    Returns:
        The recipe, and in sentences what was chosen for the user.

    Raises:
        RecipeError: A value is not valid.
        CheckpointError: There is no such checkpoint, or it cannot be built.
        DataError: There are no such data.
    """
    values, chosen = values_of(
        form, is_adapted=any(each.startswith("adapter=") for each in overrides)
    )
    for key, other in (("evaluation", "held_out"), ("held_out", "evaluation")):
        if any(each.startswith(f"data.{key}=") for each in overrides):
            values["data"].pop(other, None)
    return recipe_of(YamlDocument(values), OPTIONS, form.directory, overrides), chosen


def values_of(form: ShortForm, *, is_adapted: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a recipe that a short form stands for.

    Args:
        form: What is asked for.
        is_adapted: Whether an adapter is merged into the checkpoint, which may bring the head.

    Returns:
        The values by keys, without those that have the default, and in sentences what was chosen.
    """
    chosen: list[str] = []
    folder = locate(form.source, form.directory)
    config = read_config(folder, form.source, _SHORTEST_WINDOW)
    lengths = _lengths(config)
    answers = is_adapted or has_head(family_of(config.model_type), config, folder, form.source)
    values: dict[str, Any] = {"name": _name(form.source), "source": form.source}
    if form.precision != "int8":
        values["precision"] = form.precision
    if lengths:
        values["model"] = lengths
        chosen.append(f"The checkpoint has room for windows of {lengths['max_seq_len']} tokens.")
    windows = {key: lengths[key] for key in ("max_seq_len", "doc_stride") if key in lengths}
    learns = form.precision == "int8" or not answers
    values["data"] = _data(form, learns, chosen)
    if not answers:
        values["finetune"] = {**_FINETUNE, **windows}
        chosen.append("The checkpoint cannot answer questions yet: it is fine-tuned first.")
    if form.method == "qat":
        values["qat"] = {**_QAT, **windows}
    return values, chosen


def _name(source: str) -> str:
    """Return a name for the build's folder, of what a source is called."""
    last = re.split(r"[/\\:]", source.partition("@")[0].rstrip("/\\"))[-1]
    return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._") or "model"


def _lengths(config: Any) -> dict[str, int]:
    """Return the lengths of windows for a checkpoint that has no room for the usual ones."""
    usual = Model()
    positions = family_of(config.model_type).positions(config)
    if positions is None or len(positions) >= usual.max_seq_len:
        return {}
    part = len(positions) // 4
    return {
        "max_seq_len": len(positions),
        "doc_stride": min(usual.doc_stride, part),
        "max_question_len": min(usual.max_question_len, part),
    }


def _data(form: ShortForm, learns: bool, chosen: list[str]) -> dict[str, Any]:
    """Return the section `data`, in which what to evaluate on is found where it is not named."""
    for text in (*form.data, *([form.evaluation] if form.evaluation else ())):
        DataAddress.parse(text, form.directory)
    data: dict[str, Any] = {"train": list(form.data)}
    evaluation = form.evaluation or _split_to_evaluate_on(form)
    if evaluation is not None:
        data["evaluation"] = evaluation
        if form.evaluation is None:
            chosen.append(f"Versions are evaluated on {evaluation}.")
    elif learns:
        data["held_out"] = HELD_OUT
        chosen.append(
            f"Versions are evaluated on {HELD_OUT:.0%} of the questions, held out by contexts; "
            "--eval-data names others."
        )
    elif len(form.data) == 1:
        chosen.append("Nothing is learnt from the data: versions are evaluated on all of them.")
        return {"evaluation": form.data[0]}
    else:
        raise RecipeError(
            f"{OPTIONS}: nothing is learnt from data here, so name those to evaluate on with "
            "--eval-data, or one --data alone."
        )
    return data


def _split_to_evaluate_on(form: ShortForm) -> str | None:
    """Return the split for evaluation of the one data set that was named without a split."""
    address = DataAddress.parse(form.data[0], form.directory)
    if len(form.data) > 1 or address.split or not address.is_dataset:
        return None
    there = splits_of(address)
    found = next((each for each in EVALUATION_SPLITS if each in there and "train" in there), None)
    return None if found is None else f"{form.data[0]}:{found}"
