"""Optimum-Intel's `OVModelForQuestionAnswering` in the pipeline of transformers 4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertqa_build.bench.peers.contract import Job, Opened
from bertqa_build.bench.peers.pipeline import ways_of


@contextmanager
def opened(job: Job) -> Iterator[Opened]:
    """Load an IR as its documentation shows; see `Open`."""
    from optimum.intel import OVModelForQuestionAnswering

    model = OVModelForQuestionAnswering.from_pretrained(job.path, local_files_only=True)
    packages = ("optimum-intel", "openvino", "transformers")
    yield Opened(ways_of(model, Path(job.path), job), packages)
