"""Answering a file of questions: one module a format, a journal, and the run that joins them."""

from bertqa.client._batch._run import BatchReport, answer_file

__all__ = ["BatchReport", "answer_file"]
