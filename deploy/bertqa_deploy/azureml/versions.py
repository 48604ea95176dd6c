"""Versions as Azure ML has them: one deployment each, and percents of the endpoint's traffic."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bertqa.artifact import Split
from bertqa.errors import InvalidOptionError

MIRROR_LIMIT = 50
BEFORE = "bert-qa-split-before"
"""The endpoint's tag that holds the split before the last switch."""

_DEPLOYMENT = re.compile(r"version-([1-9][0-9]*)")
_MIRROR = re.compile(r"([1-9][0-9]*)=([0-9]+)%?", re.ASCII)


def deployment_name(version: int) -> str:
    """Name the deployment of a version; Azure wants at least three characters."""
    return f"version-{version}"


def version_of(deployment: str) -> int | None:
    """Return the version that a deployment serves; None where it is not one of ours."""
    match = _DEPLOYMENT.fullmatch(deployment)
    return None if match is None else int(match[1])


def to_traffic(split: Split) -> dict[str, int]:
    """Write a split as Azure has it: whole percents by deployment. Raises InvalidOptionError."""
    for version, percent in split.items():
        if percent != int(percent):
            raise InvalidOptionError(
                f"Azure splits traffic by whole percents, but version {version} is to get "
                f"{percent:g}."
            )
    return {deployment_name(version): int(percent) for version, percent in split.items() if percent}


def to_split(traffic: Mapping[str, int] | None) -> dict[int, float]:
    """Read Azure's traffic as a split; what gets none, and what is not ours, is left out."""
    split = {}
    for name, percent in (traffic or {}).items():
        version = version_of(name)
        if version is not None and percent:
            split[version] = float(percent)
    return split


def parse_mirror(text: str) -> dict[str, int]:
    """Read `2=10`: one version, and the percent of requests that it gets a copy of.

    `2=0` ends it. Raises InvalidOptionError.
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
