"""The rule by which a rate is judged, held to MLCommons' LoadGen itself."""

from __future__ import annotations

import re
from pathlib import Path

import mlperf_loadgen as loadgen
import pytest
from scipy import stats

from bertqa.load._early_stopping import is_kept, questions_needed


def loadgen_needs(over: int, percent: float, logs: Path) -> int:
    """Of how many questions LoadGen lets so many be over the limit, where all asked are."""
    asked = max(over, 1)

    def answer(samples: list[loadgen.QuerySample]) -> None:
        done = [loadgen.QuerySampleResponse(each.id, 0, 0) for each in samples]
        loadgen.QuerySamplesComplete(done)

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.Server
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = asked
    settings.server_target_qps = 10_000.0
    settings.server_target_latency_ns = 0 if over else 60_000_000_000
    settings.server_target_latency_percentile = percent / 100
    logging = loadgen.LogSettings()
    logging.log_output.outdir = str(logs)
    sut = loadgen.ConstructSUT(answer, lambda: None)
    library = loadgen.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(sut, library, settings, logging)
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(sut)
    summary = (logs / "mlperf_log_summary.txt").read_text("utf-8")
    processed = re.search(r"Processed (\d+) queries", summary)
    more = re.search(r"at least (\d+) more queries", summary)
    assert processed is not None
    assert more is not None
    assert int(processed[1]) == asked
    return asked + int(more[1])


@pytest.mark.parametrize(("over", "percent"), [(0, 99.0), (4, 99.0), (40, 90.0)])
def test_as_many_questions_are_needed_as_loadgen_needs(
    tmp_path: Path, over: int, percent: float
) -> None:
    assert questions_needed(over, percent) == loadgen_needs(over, percent, tmp_path)


@pytest.mark.parametrize(
    ("over", "needed"), [(0, 459), (1, 662), (2, 838), (3, 1001), (4, 1157), (10, 2010)]
)
def test_the_99th_percentile_takes_so_many(over: int, needed: int) -> None:
    assert questions_needed(over, 99.0) == needed
    assert is_kept(needed, over, 99.0) is True
    assert is_kept(needed - 1, over, 99.0) is not True


@pytest.mark.parametrize(
    ("asked", "over", "kept"),
    [
        (0, 0, None),
        (25, 2, None),
        (25, 3, False),
        (600, 6, None),
        (1200, 4, True),
        (1200, 5, None),
        (1200, 21, None),
        (1200, 22, False),
    ],
)
def test_what_chance_may_have_done_decides_nothing(
    asked: int, over: int, kept: bool | None
) -> None:
    """Of 1,200 questions 12 are 1 %; from 22 on it is more than that, up to 4 it is less."""
    assert is_kept(asked, over, 99.0) is kept


def test_it_is_wrong_once_in_a_hundred_times_at_most() -> None:
    """Where 1 % take longer, the limit is just not kept, and just not missed."""
    asked = 1200
    odds = stats.binom(asked, 0.01)
    kept = [over for over in range(asked) if is_kept(asked, over, 99.0) is True]
    missed = [over for over in range(asked) if is_kept(asked, over, 99.0) is False]
    assert 0 < sum(odds.pmf(kept)) < 0.01
    assert 0 < sum(odds.pmf(missed)) < 0.01
