"""Scoring versions, and comparing them."""

from bertqa.evaluation._benchmark import time_questions, time_stream
from bertqa.evaluation._compare import Comparison, Metrics, System, compare
from bertqa.evaluation._evaluate import evaluate
from bertqa.evaluation._recorded import LogReport, report_on_log
from bertqa.evaluation._squad import SquadDataset, SquadQuestion, parse_squad, read_squad

__all__ = [
    "Comparison",
    "LogReport",
    "Metrics",
    "SquadDataset",
    "SquadQuestion",
    "System",
    "compare",
    "evaluate",
    "parse_squad",
    "read_squad",
    "report_on_log",
    "time_questions",
    "time_stream",
]
