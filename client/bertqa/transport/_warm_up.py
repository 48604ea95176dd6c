"""Running a model at every length before its users do, who would wait for kernels otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bertqa import _defaults
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.transport._admin import AdminClient, VersionMetadata

_ANY_SHAPE = (-1, -1)


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
    or does not take inputs of any length, is left alone, which an event's `note` reports.

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
    streams = admin.streams(model)
    stage = f"Warming up {model}"
    plans = []
    for version in chosen:
        metadata = admin.metadata(model, version)
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
                calls = [
                    pool.submit(admin.run, model, plan.version, plan.inputs, length)
                    for _ in range(plan.streams)
                ]
                for call in calls:
                    call.result()
                done += plan.streams
                note = f"version {plan.version}, {length} tokens"
                on_progress(Progress(stage, done, total, "requests", note))
    return done


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
