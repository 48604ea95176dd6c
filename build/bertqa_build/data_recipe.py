"""The keys of a recipe's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bertqa._data_files import DataAddress

FILE, DATASET = "file", "data set"
"""The tags of the two forms of a source, which a user does not write."""


class Section(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_switches(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic takes true for the number 1, which YAML makes of "yes" and "on" too.
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError(f"it is {str(value).lower()}, and not a switch")
        return value


class HubDataset(Section):
    """A data set on the Hugging Face hub, or in a local directory."""

    dataset: str = Field(min_length=1, description="Hub id or local directory.")
    split: str | None = Field(
        default=None, min_length=1, description="Its split, such as `train`, where it has several."
    )
    config: str | None = Field(default=None, description="Its configuration, where it has several.")
    revision: str | None = Field(
        default=None, description="A branch, tag or commit of the hub; the default is the newest."
    )


DataSource = Annotated[
    Annotated[str, Field(min_length=1), Tag(FILE)] | Annotated[HubDataset, Tag(DATASET)],
    Discriminator(lambda value: FILE if isinstance(value, str) else DATASET),
]
"""A file, a directory with data or an id of the hub with its split, as they are typed; or the last
two in parts."""


class Data(Section):
    """The questions to train on, to calibrate on and to evaluate on."""

    directory: Path = Field(
        default=Path(),
        description="The directory of the files below; relative to the recipe.",
    )
    train: list[DataSource] = Field(
        default_factory=list,
        description="Files, directories or hub data sets with questions to train on.",
    )
    calibration: list[DataSource] = Field(
        default_factory=list,
        description="The same, to calibrate on; the default is the training data.",
    )
    evaluation: DataSource | None = Field(
        default=None, description="One of the same, to evaluate versions on."
    )
    held_out: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="In place of `evaluation`: the share of `train` to evaluate on, whose contexts "
        "are then not trained on.",
    )

    @model_validator(mode="after")
    def _something_to_evaluate_on(self) -> Data:
        if (self.evaluation is None) == (self.held_out is None):
            raise ValueError(
                "name the data to evaluate on in evaluation, or else in held_out the share of "
                "train that is kept for it"
            )
        if self.held_out is not None and not self.train:
            raise ValueError("held_out is a share of train, which names no file")
        return self


def address_of(source: DataSource, directory: Path) -> DataAddress:
    """Return where a source is.

    Args:
        source: A source of a recipe.
        directory: What a relative path starts from.

    Raises:
        DataError: There is no such file, and the hub has no names of this form.
    """
    if isinstance(source, str):
        return DataAddress.parse(source, directory)
    place = source.dataset + (f"@{source.revision}" if source.revision else "")
    parts = "/".join(part for part in (source.config, source.split) if part)
    return DataAddress.parse(f"{place}:{parts}" if parts else place, directory)
