"""The keys of a recipe's quantisation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from bertqa_build.data_recipe import Section


class Quantization(Section):
    """How NNCF places and calibrates the quantisers."""

    calibration_windows: int = Field(default=300, ge=1, description="Windows to calibrate on.")
    preset: Literal["mixed", "performance"] = Field(
        default="mixed",
        description="`mixed`: asymmetric activations; `performance`: symmetric ones.",
    )
    fast_bias_correction: bool = Field(
        default=True,
        description="Correct the biases that rounding shifts, by NNCF's quick form.",
    )
    smooth_quant_alpha: float = Field(
        default=0.95,
        ge=-1,
        le=1,
        description="SmoothQuant's alpha for matrix products; -1 turns it off.",
    )
    keep_floating_point: list[str] | None = Field(
        default=None,
        description=(
            "Layers that stay in floating point: names as `bert-qa inspect` prints them, or "
            "regular expressions that are found in these. The default is what the family needs; "
            "`[]` is none."
        ),
    )

    @field_validator("keep_floating_point")
    @classmethod
    def _are_patterns(cls, patterns: list[str] | None) -> list[str] | None:
        for pattern in patterns or ():
            if not pattern.strip():
                raise ValueError(f"{pattern!r} names no layer; [] keeps none in floating point")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    def of_family(self, needed: Sequence[str]) -> Quantization:
        """Return these settings with the layers named that stay in floating point.

        Args:
            needed: Those of the model's family, where the recipe does not say which.
        """
        if self.keep_floating_point is not None:
            return self
        return self.model_copy(update={"keep_floating_point": list(needed)})
