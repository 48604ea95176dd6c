from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bertqa.artifact import format_split, parse_split
from bertqa_deploy.rollout import ramp

MILLIONTHS = 10**8


@st.composite
def splits(draw: st.DrawFn) -> dict[int, float]:
    """Splits of up to four versions, to the sixth decimal of a percent."""
    versions = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True))
    cuts = sorted(
        draw(
            st.lists(
                st.integers(1, MILLIONTHS - 1),
                min_size=len(versions) - 1,
                max_size=len(versions) - 1,
                unique=True,
            )
        )
    )
    shares = [b - a for a, b in zip([0, *cuts], [*cuts, MILLIONTHS], strict=True)]
    return {v: share / 10**6 for v, share in zip(versions, shares, strict=True)}


@given(start=splits(), goal=splits())
def test_every_split_on_the_way_is_read_as_it_was_written(
    start: dict[int, float], goal: dict[int, float]
) -> None:
    for split in ramp(start, goal, (1, 5, 33, 50, 100)):
        assert parse_split(format_split(split)) == split
