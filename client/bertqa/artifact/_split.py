"""The split of traffic between versions that an operator sets, and how clients follow it.

A server reports it as `rt_info` of a tiny model of its own, beside the model that it is about: so
it is read from the server that answers, whether that is OVMS or the local engine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal

from bertqa.errors import InvalidOptionError

SPLIT_KEY = "split"
# What the HTTP API reports of the split that it follows, by version in percent.
SPLIT_METRIC = "bertqa_http_split_percent"
WHOLE = 100.0

Split = Mapping[int, float]

_PART = re.compile(r"\s*([1-9][0-9]{0,17})\s*=\s*([0-9]{1,3}(?:\.[0-9]{1,18})?)\s*%?\s*", re.ASCII)


def split_model_name(model: str) -> str:
    """Return the name of the model that reports the split of another one's traffic.

    Args:
        model: The model that the split is about.

    Returns:
        The name of the model that reports it.
    """
    return f"{model}-traffic"


def trial_model_name(model: str) -> str:
    """Return the name by which a switch asks a version before clients do.

    Args:
        model: The model's own name.

    Returns:
        The name in `config.json` for as long as the trial takes.
    """
    return f"{model}-trial"


def parse_split(text: str) -> dict[int, float]:
    """Read a split.

    Args:
        text: Versions and percents that sum to 100, such as `1=90,2=10`.

    Returns:
        The percents by version.

    Raises:
        InvalidOptionError: The text is not a split.
    """
    split: dict[int, float] = {}
    for part in text.strip().split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise InvalidOptionError(
                f"The split {text.strip()!r} cannot be read: write versions with their percents, "
                "as in 1=90,2=10."
            )
        version, percent = int(match[1]), float(match[2])
        if version in split:
            raise InvalidOptionError(f"The split {text.strip()!r} names version {version} twice.")
        split[version] = percent
    if not math.isclose(sum(split.values()), WHOLE, abs_tol=1e-6):
        raise InvalidOptionError(
            f"The split {text.strip()!r} sums to {sum(split.values()):g}, but it has to be 100."
        )
    return split


def format_split(split: Split) -> str:
    """Write a split as `parse_split` reads it, to the last digit, versions in ascending order.

    Args:
        split: The percentages by version.

    Returns:
        The text.
    """
    return ",".join(f"{version}={_digits(split[version])}" for version in sorted(split))


def _digits(percent: float) -> str:
    return f"{Decimal(repr(float(percent))).normalize():f}"
