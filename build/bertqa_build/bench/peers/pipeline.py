"""The question-answering pipeline of transformers 4 around any model that it can call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bertqa_build.bench.peers.contract import BATCH, BATCHES, ONE_BY_ONE, Ask, Job, Pair


def ways_of(model: Any, folder: Path, job: Job) -> dict[str, Ask]:
    """Return the ways in which a user of the pipeline asks many questions.

    Args:
        model: What the pipeline calls.
        folder: The directory with the tokenizer.
        job: How it is asked.

    Returns:
        One question after the other, and in batches as they come.
    """
    import transformers

    make_pipeline: Any = transformers.pipeline  # The types of transformers 5 lack this one.

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    pipe = make_pipeline("question-answering", model=model, tokenizer=tokenizer)

    def ask(batch_size: int, pairs: Sequence[Pair]) -> list[str]:
        found = pipe(
            question=[question for question, _ in pairs],
            context=[context for _, context in pairs],
            batch_size=batch_size,
            max_seq_len=job.max_seq_len,
            doc_stride=job.doc_stride,
            max_question_len=job.max_question_len,
            handle_impossible_answer=job.may_be_impossible,
        )
        return [each["answer"] for each in (found if isinstance(found, list) else [found])]

    return {ONE_BY_ONE: partial(ask, 1), BATCHES: partial(ask, BATCH)}
