"""Scoring versions, and comparing them."""

from bertqa.evaluation._answers import GoldAnswer
from bertqa.evaluation._benchmark import time_questions, time_stream
from bertqa.evaluation._compare import (
    Comparison,
    Disagreement,
    Metrics,
    ScoredSystem,
    System,
    compare,
    compare_scores,
)
from bertqa.evaluation._evaluate import evaluate, evaluate_each
from bertqa.evaluation._loop_timing import time_loop
from bertqa.evaluation._metrics import score
from bertqa.evaluation._pages import render_page
from bertqa.evaluation._question_scores import QuestionScores
from bertqa.evaluation._recorded import LogReport, follow_log, read_log, report_on_log
from bertqa.evaluation._report import comparison_page, metric_rows
from bertqa.evaluation._squad import (
    EVALUATION_SPLITS,
    SquadDataset,
    SquadQuestion,
    parse_squad,
    read_address,
    read_squad,
)
from bertqa.evaluation._statistics import Interval, clopper_pearson
from bertqa.evaluation._timing import Samples, take_turns, time_call

__all__ = [
    "EVALUATION_SPLITS",
    "Comparison",
    "Disagreement",
    "GoldAnswer",
    "Interval",
    "LogReport",
    "Metrics",
    "QuestionScores",
    "Samples",
    "ScoredSystem",
    "SquadDataset",
    "SquadQuestion",
    "System",
    "clopper_pearson",
    "compare",
    "compare_scores",
    "comparison_page",
    "evaluate",
    "evaluate_each",
    "follow_log",
    "metric_rows",
    "parse_squad",
    "read_address",
    "read_log",
    "read_squad",
    "render_page",
    "report_on_log",
    "score",
    "take_turns",
    "time_call",
    "time_loop",
    "time_questions",
    "time_stream",
]
