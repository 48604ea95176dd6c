"""A switch that runs in the cluster, as a Job that is started once and followed from anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.job_api import ENABLE, STATUSES, AwayError, JobApi, SwitchJob
from bertqa_deploy.cluster.job_input import JobInput, job_input
from bertqa_deploy.cluster.job_log import OnLine, PodLog
from bertqa_deploy.errors import ClusterError
from bertqa_deploy.rollout import OnStep

_FAILED = 1
_LOOK_SECONDS = 1.0
_AWAY_SECONDS = 300.0
_GONE_SECONDS = 120.0
# How often the rest of the log of a Job that has finished is asked for.
_TRIES = 10

_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_NO_CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a switch in the cluster ended.

    Attributes:
        status: The exit status of `bert-qa switch` there.
        document: The JSON document that it printed; empty without one.
    """

    status: int
    document: str


def start_or_attach(
    helm: Helm,
    arguments: Sequence[str],
    data: Path | None = None,
    *,
    on_line: OnLine,
    on_step: OnStep,
) -> Ended:
    """Run a switch in the cluster and show its log, or follow the one that runs there already.

    It continues there whatever happens here. The log of one that has ended unseen is shown: if it
    succeeded at what is requested now, that is the result, and otherwise a new one is started.

    Args:
        helm: The release.
        arguments: The arguments of `bert-qa switch` as they were typed, `--in-cluster` included.
        data: The file of `--data`.
        on_line: Is called with each line that the switch prints, but for its JSON document.
        on_step: Is called with a sentence for what happens to the Job.

    Returns:
        How it ended.

    Raises:
        ClusterError: The cluster cannot be reached or refuses, another switch runs in it, or the
            release lacks what a switch in the cluster needs.
        KeyboardInterrupt: The user interrupted the display; the switch continues.
    """
    release, namespace = helm.release, helm.access.namespace
    wanted = job_input(arguments, release, namespace, helm.chart, data)
    jobs = JobApi(helm.access, release)
    template = jobs.template()
    name = str(template["metadata"]["name"])
    while True:
        job = jobs.find(name)
        if job is None:
            jobs.create(template, wanted)
            continue
        if job.condition is None and not job.does(wanted):
            raise _another(job, wanted, namespace, release)
        if job.condition is None:
            _start(jobs, job, wanted, on_step)
            return _Follower(jobs, job, namespace, on_line, on_step).ended()
        if not job.is_reported:
            on_step(f"The switch that ran in the cluster last, `{job.command}`:")
            ended = _Follower(jobs, job, namespace, on_line, on_step).ended()
            if job.does(wanted) and not ended.status:
                return ended
        _remove(jobs, job, namespace)


def _start(jobs: JobApi, job: SwitchJob, wanted: JobInput, on_step: OnStep) -> None:
    """Let a Job run that still waits for its input, also that of a process that was killed."""
    if not job.is_suspended:
        on_step(f"The Job {job.name} runs this in the cluster already.")
        return
    try:
        jobs.start(job, wanted)
    except (ClusterError, KeyboardInterrupt):
        with suppress(ClusterError):
            jobs.delete(job)
        raise
    on_step(f"The Job {job.name} runs this in the cluster.")


def _another(job: SwitchJob, wanted: JobInput, namespace: str, release: str) -> ClusterError:
    alike = job.command == wanted.command
    return ClusterError(
        f"Another switch of the release {release} runs in the cluster since {job.since} UTC: "
        f"`{job.command}`{', with another chart or other questions' if alike else ''}. Run that "
        f"command to follow it, or end it with `kubectl --namespace {namespace} delete job "
        f"{job.name}`."
    )


def _remove(jobs: JobApi, job: SwitchJob, namespace: str) -> None:
    """Delete a Job, and wait until it is gone."""
    jobs.delete(job, with_all=True)
    give_up = time.monotonic() + _GONE_SECONDS
    while (found := jobs.find(job.name)) is not None and found.uid == job.uid:
        if time.monotonic() > give_up:
            raise ClusterError(
                f"The Job {job.name} of the last switch does not go away: `kubectl --namespace "
                f"{namespace} describe job {job.name}` says why."
            )
        time.sleep(_LOOK_SECONDS)


class _Follower:
    """Shows what a Job prints until it has finished."""

    def __init__(
        self, jobs: JobApi, job: SwitchJob, namespace: str, on_line: OnLine, on_step: OnStep
    ) -> None:
        self._jobs = jobs
        self._job = job
        self._namespace = namespace
        self._on_line = on_line
        self._on_step = on_step
        self._said = ""
        self._log: PodLog | None = None

    def ended(self) -> Ended:
        try:
            return self._follow()
        except KeyboardInterrupt:
            self._on_step(
                "The switch continues in the cluster. The same command attaches again; `kubectl "
                f"--namespace {self._namespace} delete job {self._job.name}` ends it."
            )
            raise

    def _follow(self) -> Ended:
        tries = 0
        while True:
            # In this order: once a Job has finished, its pods do not change any more.
            self._job = self._present()
            pod = self._patiently(partial(self._jobs.newest_pod, self._job))
            self._look_at(pod)
            condition = self._job.condition
            if condition is not None:
                tries += 1
                if self._log is None or self._log.is_complete or tries > _TRIES:
                    self._jobs.mark_as_reported(self._job)
                    return self._end(condition, pod)
            time.sleep(_LOOK_SECONDS)

    def _present(self) -> SwitchJob:
        found = self._patiently(partial(self._jobs.find, self._job.name))
        if found is None or found.uid != self._job.uid:
            raise ClusterError(
                f"The Job {self._job.name} was deleted before the switch ended: run the same "
                "command again to resume, or undo it with --back."
            )
        return found

    def _look_at(self, pod: Any) -> None:
        """Show what is new in the log, or why there is none."""
        state = _state(pod)
        if pod is None:
            if self._job.condition is None:
                self._check_that_pods_are_made()
        elif state is None or state.waiting is not None:
            self._check_that_it_starts(pod, state)
        else:
            log = self._log_of(pod.metadata.name)
            if not log.is_complete:
                log.follow(has_ended=state.terminated is not None)

    def _log_of(self, pod: str) -> PodLog:
        if self._log is None or self._log.pod != pod:
            if self._log is not None:
                self._say(f"The pod {self._log.pod} ended before the switch did: {pod} resumes it.")
            self._log = PodLog(pod, partial(self._jobs.log, pod), self._on_line)
        return self._log

    def _end(self, condition: Any, pod: Any) -> Ended:
        document = "" if self._log is None else self._log.document
        if self._log is None or not self._log.is_complete:
            self._say("The log of its last pod is gone.")
        if condition.type == "Complete":
            return Ended(0, document)
        state = _state(pod)
        ended = None if state is None else state.terminated
        if ended is not None and ended.exit_code in STATUSES:
            return Ended(ended.exit_code, document)
        why = "" if ended is None else f" (status {ended.exit_code}, {ended.reason})"
        self._say(f"The Job {self._job.name} failed{why}: {condition.message}")
        return Ended(_FAILED, document)

    def _check_that_pods_are_made(self) -> None:
        refusal = self._jobs.refusal_of_pods(self._job)
        if refusal:
            hint = f" `{ENABLE}` makes it." if "serviceaccount" in refusal.lower() else ""
            self._give_up_or_say(f"The cluster makes no pod for the switch: {refusal}.{hint}")

    def _check_that_it_starts(self, pod: Any, state: Any) -> None:
        waiting: Any = None if state is None else state.waiting
        reason = "" if waiting is None else waiting.reason or ""
        if reason in _NO_IMAGE:
            self._give_up_or_say(
                f"The image {pod.spec.containers[0].image} of the switch cannot be pulled "
                f"({waiting.message or reason}): build it from deploy/docker/switch.Dockerfile, "
                "push it to where the cluster finds it, and name it in the value switch.image."
            )
        elif reason in _NO_CONTAINER:
            self._give_up_or_say(
                f"The container of the switch cannot be started: {waiting.message or reason}."
            )
        for each in pod.status.conditions or ():
            if each.type == "PodScheduled" and each.status == "False":
                self._say(f"The pod {pod.metadata.name} waits for a node: {each.message}")

    def _give_up_or_say(self, sentence: str) -> None:
        """Remove a Job of which nothing has run yet; keep any other, so that it can resume."""
        # Read anew: a pod may have failed, and this one be its successor, since the Job was read.
        if self._log is not None or self._present().has_failed:
            self._say(sentence)
            return
        self._jobs.delete(self._job)
        raise ClusterError(f"{sentence} The Job was removed.")

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self._on_step(sentence)

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """Call until the cluster answers: the switch does not end where it is away for a while."""
        give_up = time.monotonic() + _AWAY_SECONDS
        while True:
            try:
                return call()
            except AwayError as error:
                if time.monotonic() > give_up:
                    raise ClusterError(
                        f"The cluster has not answered for {_AWAY_SECONDS:g} s. The switch "
                        "continues in it: the same command attaches again.",
                        detail=error.detail,
                    ) from error
                self._say("The cluster does not answer at the moment.")
                time.sleep(_LOOK_SECONDS)


def _state(pod: Any) -> Any:
    """Return the state of a pod's container; None before there is one."""
    statuses = None if pod is None else pod.status.container_statuses
    return statuses[0].state if statuses else None
