"""Answering a million rows by workers of Ray or Spark, against servers or without any."""

from bertqa.bulk._models import LocalModel, ServedModel
from bertqa.bulk._pipelines import AnswerBatches, answer_frames, answered_schema
from bertqa.bulk._run import BulkReport, answer_files

__all__ = [
    "AnswerBatches",
    "BulkReport",
    "LocalModel",
    "ServedModel",
    "answer_files",
    "answer_frames",
    "answered_schema",
]
