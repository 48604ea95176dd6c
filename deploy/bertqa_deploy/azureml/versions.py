"""Versions in Azure ML: one deployment each, and whole percents of the endpoint's traffic."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bertqa.artifact import Split
from bertqa.errors import InvalidOptionError

MIRROR_LIMIT = 50

_DEPLOYMENT = re.compile(r"version-([1-9][0-9]{0,17})")
_MIRROR = re.compile(r"([1-9][0-9]{0,17})=([0-9]{1,3})%?", re.ASCII)


def deployment_name(version: int) -> str:
    """Return the name of a version's deployment; Azure requires three characters or more."""
    return f"version-{version}"


def version_of(deployment: str) -> int | None:
    """Return the version that a deployment serves; None where its name is not one of ours."""
    match = _DEPLOYMENT.fullmatch(deployment)
    return None if match is None else int(match[1])


def to_traffic(split: Split) -> dict[str, int]:
    """Convert a split to Azure's traffic.

    Args:
        split: Percent of the traffic by version.

    Returns:
        Whole percents by deployment, without the versions that get none.

    Raises:
        InvalidOptionError: A percentage is not a whole number.
    """
    for version, percent in split.items():
        if percent != int(percent):
            raise InvalidOptionError(
                f"Azure splits traffic by whole percents, but version {version} is to get "
                f"{percent:g}."
            )
    return {deployment_name(version): int(percent) for version, percent in split.items() if percent}


def to_split(traffic: Mapping[str, int] | None) -> dict[int, float]:
    """Convert Azure's traffic to a split.

    Args:
        traffic: Percent of the traffic by deployment.

    Returns:
        Percent by version, without deployments that get none or are not ours.
    """
    split = {}
    for name, percent in (traffic or {}).items():
        version = version_of(name)
        if version is not None and percent:
            split[version] = float(percent)
    return split


def whole_percents(split: Split) -> dict[int, float]:
    """Return the nearest split in whole percents, which sum to as much.

    Args:
        split: Percent by version.
    """
    whole = {version: percent // 1 for version, percent in split.items()}
    rest = round(sum(split.values()) - sum(whole.values()))
    by_fraction = sorted(split, key=lambda version: (whole[version] - split[version], version))
    for version in by_fraction[:rest]:
        whole[version] += 1
    return whole


def parse_mirror(text: str) -> dict[str, int]:
    """Parse which version gets a copy of the requests.

    Args:
        text: A version and a whole percentage, as in `2=10`; `2=0` ends the copies.

    Returns:
        The percentage by deployment, empty for 0.

    Raises:
        InvalidOptionError: The text is not of that form, or the percentage is too high.
    """
    match = _MIRROR.fullmatch(text.strip())
    if match is None:
        raise InvalidOptionError(
            f"The mirror {text.strip()!r} cannot be read: write one version with a whole percent, "
            "as in 2=10."
        )
    version, percent = int(match[1]), int(match[2])
    if percent > MIRROR_LIMIT:
        raise InvalidOptionError(
            f"Azure copies at most {MIRROR_LIMIT} percent of the requests, not {percent}."
        )
    return {deployment_name(version): percent} if percent else {}
