"""Scoring versions, and comparing them."""

from bertqa.evaluation._benchmark import time_questions, time_stream
from bertqa.evaluation._compare import Comparison, Metrics, System, compare
from bertqa.evaluation._evaluate import evaluate
from bertqa.evaluation._pages import render_page
from bertqa.evaluation._recorded import LogReport, report_on_log
from bertqa.evaluation._report import comparison_page, metric_rows
from bertqa.evaluation._squad import SquadDataset, SquadQuestion, parse_squad, read_squad

__all__ = [
    "Comparison",
    "LogReport",
    "Metrics",
    "SquadDataset",
    "SquadQuestion",
    "System",
    "compare",
    "comparison_page",
    "evaluate",
    "metric_rows",
    "parse_squad",
    "read_squad",
    "render_page",
    "report_on_log",
    "time_questions",
    "time_stream",
]
