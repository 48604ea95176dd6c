"""Ray Data: an actor for each worker, which is restarted where it is killed."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from bertqa.artifact import usable_cores
from bertqa.bulk._models import LocalModel
from bertqa.bulk._plan import Job, Partition
from bertqa.bulk._run import OnFinished
from bertqa.bulk._worker import Outcome, as_outcome, attempt, gist_of, raise_fault
from bertqa.errors import BertQAError, InvalidOptionError

_CORES_OF_A_WORKER = 4
# What goes through Ray's store are numbers, and Ray takes no less.
_STORE_BYTES = 100 * 2**20
# A partition that always kills its worker ends the run after as many attempts as Spark makes.
_RETRIES = 3


class Worker:
    """An actor's class: answers a partition a call."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Answer partitions.

        Args:
            batch: Their numbers.

        Returns:
            The outcomes.
        """
        outcomes = [asdict(attempt(self._job, int(number))) for number in batch["number"]]
        return {name: [each[name] for each in outcomes] for name in outcomes[0]}


def run_on_workers(
    job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
) -> list[Outcome]:
    """Have partitions answered by actors of Ray; see `Engine`.

    Args:
        job: The job.
        partitions: Those that are missing.
        workers: How many actors; None is one for each four cores of the cluster.
        on_finished: Called with the number of each partition that is done.

    Returns:
        The outcomes.

    Raises:
        BertQAError: A partition cannot be answered, or workers end again and again.
    """
    with _cluster() as is_own:
        known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [int(node["Resources"].get("CPU", 0)) for node in known if node["Alive"]]
        count = min(workers or max(1, sum(nodes) // _CORES_OF_A_WORKER), len(partitions))
        cores = _cores_of_each(nodes, count)
        if is_own and count > sum(nodes):
            raise InvalidOptionError(
                f"workers is {workers}, but this machine has {sum(nodes)} cores for them."
            )
        if isinstance(job.model, LocalModel):
            cores = job.model.threads or cores
            job = replace(job, model=replace(job.model, threads=cores))
        else:
            cores = 1
        numbers = [{"number": each.number} for each in partitions]
        outcomes = []
        try:
            rows = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map_batches(
                Worker,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=count),
                num_cpus=cores,
                fn_constructor_args=(job,),
                ray_remote_args_fn=_attempts,
            )
            for row in rows.iter_rows():
                outcome = as_outcome(row)
                raise_fault(outcome.fault)
                outcomes.append(outcome)
                on_finished(outcome.number)
        except RayError as error:
            raise BertQAError(
                "A worker of Ray failed, or ended several times on the same partition.",
                detail=gist_of(error),
            ) from error
        return outcomes


def _attempts() -> dict[str, Any]:
    return {"max_restarts": -1, "max_task_retries": _RETRIES}


def _cores_of_each(nodes: Sequence[int], workers: int) -> int:
    """Return the most cores that each worker can have, so that all of them find room."""
    fitting = (
        cores
        for cores in range(max(nodes, default=1), 1, -1)
        if sum(node // cores for node in nodes) >= workers
    )
    return next(fitting, 1)


@contextmanager
def _cluster() -> Iterator[bool]:
    """Have a cluster for the block, and say whether it is one of this run alone."""
    # Ray 2.60 has nothing in its place; the project's requirement ends below 2.64, which lacks it.
    warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated", DeprecationWarning)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if ray.is_initialized():
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    found = os.environ.get("RAY_ADDRESS")
    try:
        if found:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                "local",
                num_cpus=usable_cores(),
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RayError, ValueError) as error:
        raise BertQAError(
            f"Ray's cluster {found or 'on this machine'} cannot be reached.", detail=gist_of(error)
        ) from error
    try:
        yield not found
    finally:
        ray.shutdown()
