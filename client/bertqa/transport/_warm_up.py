"""Running a model at every length before its users do, who would wait for kernels otherwise."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bertqa import _defaults
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.errors import BertQAError, ModelNotReadyError, VersionNotFoundError
from bertqa.transport._admin import AdminClient, VersionMetadata
from bertqa.transport._retries import searches

T = TypeVar("T")
_ANY_SHAPE = (-1, -1)
# How long a version is looked for behind an address with several servers.
_SEARCH_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What it takes to warm up one version: `streams` requests at once for each length."""

    version: int
    inputs: list[str]
    lengths: list[int]
    streams: int

    @property
    def requests(self) -> int:
        return len(self.lengths) * self.streams


def warm_up(
    admin: AdminClient,
    model: str,
    versions: Iterable[int] | None = None,
    *,
    on_progress: OnProgress = ignore,
) -> int:
    """Run versions of a model at each length that clients send, on each of their streams.

    OpenVINO compiles kernels for every new length, and each of its streams does so for itself.
    Clients pad to multiples of 32, so those are run, up to the version's `max_seq_len`, as many
    requests at once as the version has streams. A version that does not report its `max_seq_len`,
    or does not take inputs of any length, is left alone, which an event's `note` reports. So is one
    that is not named and is retired meanwhile. Where several servers share the address, the ones
    that are met are warmed up.

    Args:
        admin: The server. Its timeout must leave room for a compilation.
        model: The model's name on the server.
        versions: The versions to run; by default all that answer requests.
        on_progress: Is called after each length. What it raises ends the warm-up.

    Returns:
        The number of requests that were answered.

    Raises:
        BertQAError: The server does not answer as it should.
    """
    chosen = admin.metadata(model).versions if versions is None else sorted(versions)
    may_go: tuple[type[BertQAError], ...] = (VersionNotFoundError, ModelNotReadyError)
    if versions is not None:
        may_go = ()
    streams = admin.streams(model)
    stage = f"Warming up {model}"
    plans = []
    for version in chosen:
        try:
            metadata = _found(admin, partial(AdminClient.metadata, model=model, version=version))
        except may_go:
            on_progress(Progress(stage, note=f"version {version} is not served any more"))
            continue
        found = _lengths(metadata)
        if found is None:
            note = f"version {version} does not describe its input lengths and is not warmed up"
            on_progress(Progress(stage, note=note))
            continue
        inputs = list(metadata.input_shapes)
        plans.append(_Plan(version, inputs, found, max(1, streams.get(version, 1))))
    done, total = 0, sum(plan.requests for plan in plans)
    for plan in plans:
        with ThreadPoolExecutor(plan.streams) as pool:
            for length in plan.lengths:
                run = partial(_run, model=model, plan=plan, length=length)
                calls = [pool.submit(_found, admin, run) for _ in range(plan.streams)]
                try:
                    for call in calls:
                        call.result()
                except may_go:
                    total -= (len(plan.lengths) - plan.lengths.index(length)) * plan.streams
                    note = f"version {plan.version} is not served any more"
                    on_progress(Progress(stage, done, total, "requests", note))
                    break
                done += plan.streams
                note = f"version {plan.version}, {length} tokens"
                on_progress(Progress(stage, done, total, "requests", note))
    return done


def _run(admin: AdminClient, *, model: str, plan: _Plan, length: int) -> None:
    admin.run(model, plan.version, plan.inputs, length)


def _found(admin: AdminClient, ask: Callable[[AdminClient], T]) -> T:
    """Ask about a version, over new connections where the first does not lead to it."""
    try:
        return ask(admin)
    except VersionNotFoundError as error:
        missing = error
    for pause in searches(_SEARCH_SECONDS):
        time.sleep(pause)
        with contextlib.suppress(VersionNotFoundError), admin.anew() as other:
            return ask(other)
    raise missing


def lengths(limit: int) -> list[int]:
    """Return the lengths in tokens that clients send: the multiples of 32, and the limit itself."""
    step = _defaults.LENGTH_MULTIPLE
    return sorted({*range(step, limit + 1, step), limit})


def _lengths(metadata: VersionMetadata) -> list[int] | None:
    limit = metadata.model_info.get("max_seq_len", "")
    shapes = metadata.input_shapes.values()
    if not limit.isdigit() or any(shape != _ANY_SHAPE for shape in shapes):
        return None
    return lengths(int(limit))
