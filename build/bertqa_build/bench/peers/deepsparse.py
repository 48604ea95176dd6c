"""DeepSparse's own question-answering pipeline."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertqa_build.bench.peers.contract import ONE_BY_ONE, Job, Opened, Pair


@contextmanager
def opened(job: Job) -> Iterator[Opened]:
    """Load an ONNX model beside the files of a tokenizer; see `Open`."""
    pipeline: Any = importlib.import_module("deepsparse").Pipeline

    pipe = pipeline.create(
        task="question-answering",
        model_path=str(Path(job.path).parent),
        sequence_length=job.max_seq_len,
        doc_stride=job.doc_stride,
        max_question_length=job.max_question_len,
        version_2_with_negative=job.may_be_impossible,
        num_cores=len(job.cores),
    )

    def ask(pairs: Sequence[Pair]) -> list[str]:
        return [pipe(question=question, context=context).answer for question, context in pairs]

    yield Opened({ONE_BY_ONE: ask}, ("deepsparse", "transformers"))
