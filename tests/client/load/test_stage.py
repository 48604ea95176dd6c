from __future__ import annotations

from collections import Counter

import pytest

from bertqa.load import Shape, Stage
from bertqa.load._report import load_page
from bertqa.load._stage import new_histogram, record


def stage(
    *milliseconds: float, shape: Shape | None = None, late: float = 0.1, share: float = 0.1
) -> Stage:
    histogram = new_histogram()
    for each in milliseconds:
        record(histogram, each / 1000)
    errors = Counter({"DeadlineExceededError": 1})
    return Stage(
        shape=shape or Shape(rate=10.0),
        seconds=1.0,
        asked=len(milliseconds) + 1,
        errors=dict(errors),
        questions_per_second=float(len(milliseconds)),
        encoded=histogram.encode().decode(),
        late_p99_ms=late,
        processes=1,
        client_share=share,
    )


def test_latencies_are_kept_to_three_digits() -> None:
    found = stage(*range(1, 1001))
    quantiles = [found.quantile_ms(each) for each in (50, 95, 99, 99.9)]
    assert quantiles == [pytest.approx(each, rel=0.002) for each in (500, 950, 990, 999)]
    assert found.answered == 1000
    assert stage().quantile_ms(50) is None


def test_no_more_than_the_rest_exceed_a_quantile() -> None:
    """Of 160, 158 are less than 99 %."""
    found = stage(*range(1, 161))
    assert found.quantile_ms(99) == pytest.approx(159, rel=0.002)
    assert found.quantile_ms(100) == pytest.approx(160, rel=0.002)
    assert found.quantile_ms(0) == pytest.approx(1, rel=0.002)


def test_what_is_slower_than_a_limit_is_counted() -> None:
    found = stage(10.0, 99.9, 100.0, 100.5, 900.0)
    assert [found.slower_than(each) for each in (5.0, 100.0, 1000.0)] == [5, 2, 0]
    assert stage().slower_than(1.0) == 0


def test_a_time_beyond_the_histogram_is_its_longest() -> None:
    assert stage(3_600_000.0).quantile_ms(50) == pytest.approx(600_000, rel=0.002)


@pytest.mark.parametrize(
    ("found", "is_limit"),
    [
        (stage(100.0), False),
        (stage(100.0, share=0.95), True),
        (stage(100.0, share=0.6, late=11.0), True),
        (stage(100.0, share=0.6, late=9.0), False),
        (stage(100.0, share=0.1, late=11.0), False),
        (stage(1.0, late=1.5), False),
        (stage(100.0, late=50.0, shape=Shape(at_once=4)), False),
    ],
)
def test_what_asks_may_be_the_limit(found: Stage, *, is_limit: bool) -> None:
    assert found.is_limited_by_client is is_limit
    assert found.to_dict()["client_is_limit"] is is_limit


def test_questions_that_an_idle_process_asks_late_have_another_cause() -> None:
    found = stage(100.0, share=0.1, late=11.0)
    assert found.is_late
    assert "something else had the processors" in load_page("", [], [found])
    assert not stage(100.0, share=0.1, late=9.0).is_late


def test_a_page_has_a_row_and_a_curve_for_each_stage() -> None:
    stages = [stage(*range(1, 101)), stage(*range(1, 201), shape=Shape(at_once=4), share=1.0)]
    page = load_page("load on <server>", ["a file"], stages)
    assert "Load on &lt;server&gt;" in page
    assert page.count("<polyline") == 2
    assert "At 4 at once the processes that ask were the limit" in page
    assert load_page("nothing", [], [stage()]).count("<polyline") == 0
