"""Load on a server: questions at a rate or so many at once, and how long they take."""

from bertqa.load._compare import LoadComparison, compare_systems
from bertqa.load._measure import LoadTest, Objective, RateFound, System
from bertqa.load._mlperf import MlperfPlan, MlperfResult, Scenario, run_mlperf, unofficial
from bertqa.load._recorded import recorded_traffic
from bertqa.load._report import load_page
from bertqa.load._stage import Arrivals, Shape, Stage
from bertqa.load._target import Target
from bertqa.load._tune import Candidate, Goal, Trial, Tuning, tune

__all__ = [
    "Arrivals",
    "Candidate",
    "Goal",
    "LoadComparison",
    "LoadTest",
    "MlperfPlan",
    "MlperfResult",
    "Objective",
    "RateFound",
    "Scenario",
    "Shape",
    "Stage",
    "System",
    "Target",
    "Trial",
    "Tuning",
    "compare_systems",
    "load_page",
    "recorded_traffic",
    "run_mlperf",
    "tune",
    "unofficial",
]
