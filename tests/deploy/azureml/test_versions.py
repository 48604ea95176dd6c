from __future__ import annotations

import pytest

from bertqa.artifact import Split
from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.versions import (
    deployment_name,
    parse_mirror,
    to_split,
    to_traffic,
    version_of,
    whole_percents,
)


def test_a_version_has_one_deployment_by_its_number() -> None:
    assert version_of(deployment_name(12)) == 12
    for foreign in ("blue", "version-0", "version-2b", "my-version-2"):
        assert version_of(foreign) is None


def test_a_split_becomes_traffic_and_comes_back() -> None:
    traffic = to_traffic({1: 90.0, 2: 10.0, 3: 0.0})
    assert traffic == {"version-1": 90, "version-2": 10}
    assert to_split({**traffic, "version-3": 0, "blue": 0}) == {1: 90.0, 2: 10.0}
    assert to_split(None) == {}


def test_azure_has_whole_percents_only() -> None:
    with pytest.raises(InvalidOptionError, match=r"version 1 is to get 99\.5"):
        to_traffic({1: 99.5, 2: 0.5})


@pytest.mark.parametrize(
    ("split", "whole"),
    [
        ({1: 90.0, 2: 10.0}, {1: 90, 2: 10}),
        ({1: 37.5, 2: 37.5, 3: 25.0}, {1: 38, 2: 37, 3: 25}),
        ({1: 66.666667, 2: 33.333333}, {1: 67, 2: 33}),
        ({1: 99.0, 2: 0.5, 3: 0.5}, {1: 99, 2: 1, 3: 0}),
        ({}, {}),
    ],
)
def test_splits_on_the_way_are_rounded_and_sum_to_as_much(split: Split, whole: Split) -> None:
    assert whole_percents(split) == whole


def test_one_version_is_mirrored_by_half_at_most() -> None:
    assert parse_mirror("2=10") == parse_mirror(" 2=10% ") == {"version-2": 10}
    assert parse_mirror("2=0") == {}
    for wrong in ("2", "2=x", "2=10,3=10", "2=1.5", "0=10"):
        with pytest.raises(InvalidOptionError, match="cannot be read"):
            parse_mirror(wrong)
    with pytest.raises(InvalidOptionError, match="at most 50 percent"):
        parse_mirror("2=51")
