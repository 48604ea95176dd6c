"""PyTorch in the pipeline of transformers 4, plain or by `torch.compile`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertqa_build.bench.peers.contract import Job, Opened
from bertqa_build.bench.peers.pipeline import ways_of


@contextmanager
def opened(job: Job) -> Iterator[Opened]:
    """Load a checkpoint; see `Open`."""
    import torch
    from transformers import AutoModelForQuestionAnswering

    torch.set_num_threads(len(job.cores))
    model = AutoModelForQuestionAnswering.from_pretrained(
        job.path,
        dtype=torch.bfloat16 if job.precision == "bf16" else torch.float32,
        local_files_only=True,
    ).eval()
    if job.kind == "torch-compile":
        model.compile(dynamic=True)
    yield Opened(ways_of(model, Path(job.path), job), ("torch", "transformers"))
