"""Which versions OVMS serves by each policy."""

from __future__ import annotations

from typing import Any

import pytest

from bertqa.artifact import VersionPolicy
from bertqa.errors import ConfigError


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (None, [7]),
        ({"all": {}}, [1, 2, 7]),
        ({"latest": {"num_versions": 2}}, [2, 7]),
        ({"latest": {"num_versions": 9}}, [1, 2, 7]),
        ({"specific": {"versions": [2, 9]}}, [2]),
        ({"specific": {"versions": []}}, []),
    ],
)
def test_policies_choose_versions(policy: dict[str, Any] | None, chosen: list[int]) -> None:
    assert VersionPolicy.parse(policy).choose([1, 2, 7]) == chosen


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"newest": {}},
        {"latest": {}},
        {"latest": {"num_versions": 0}},
        {"specific": {"versions": 2}},
        {"specific": {"versions": ["2"]}},
        "all",
    ],
)
def test_another_policy_is_refused(policy: Any) -> None:
    with pytest.raises(ConfigError, match="not one that OVMS knows"):
        VersionPolicy.parse(policy)
