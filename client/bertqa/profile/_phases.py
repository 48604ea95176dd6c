"""The phases of a question, and what each consists of."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from bertqa.profile._operations import BETWEEN, Operations, OperationTime
from bertqa.profile._requests import Asked
from bertqa.profile._server_times import ServerTimes
from bertqa.profile._span import TimeSpan


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time of a question goes.

    Attributes:
        question: The mean time of a question with its phases, and below the inference the
            operations.
        has_server_times: Whether the server said how long it waited and computed. Else the
            inference is what the same requests took in this process, and what they waited for one
            of the server's streams is among what is in no phase of its own.
    """

    question: TimeSpan
    has_server_times: bool


def profile(asked: Asked, operations: Operations, server: ServerTimes | None) -> Profile:
    """Put together what the client, the server and OpenVINO measured.

    Args:
        asked: What the client measured.
        operations: What the operations took of the same requests.
        server: The server's own times of them; None where it has no metrics.

    Returns:
        The phases.
    """
    known = server is not None and server.requests > 0
    times = server if server is not None and known else ServerTimes(infer_ms=operations.infer_ms)
    # Several questions wait for one request.
    share = asked.request_ms / asked.requests_ms
    infer = min(share * times.infer_ms, asked.request_ms)
    queue = share * times.queue_ms
    inside = share * max(times.whole_ms - times.infer_ms - times.queue_ms, 0.0)
    rest = max(asked.request_ms - infer - queue - inside, 0.0)
    waiting = max(asked.away_ms - asked.request_ms - asked.collate_ms, 0.0)
    queues = [TimeSpan("in the client", waiting)]
    wires = [TimeSpan("make a batch", asked.collate_ms)]
    if known:
        queues.append(TimeSpan("for a stream", queue))
        wires.append(TimeSpan("the server, but for the model", inside))
    wires.append(TimeSpan("serialise and transfer", rest))
    phases = [
        TimeSpan("tokenise", asked.tokenize_ms),
        _whole("queue", queues),
        _whole("wire", wires),
        TimeSpan("infer", infer, _kinds(operations, infer)),
        TimeSpan("decode", asked.decode_ms),
    ]
    other = asked.total_ms - sum(each.milliseconds for each in phases)
    phases.append(TimeSpan("the client besides", max(other, 0.0)))
    return Profile(TimeSpan("question", asked.total_ms, tuple(phases)), known)


def _whole(name: str, parts: list[TimeSpan]) -> TimeSpan:
    return TimeSpan(name, sum(part.milliseconds for part in parts), tuple(parts))


def _kinds(operations: Operations, infer_ms: float) -> tuple[TimeSpan, ...]:
    """Return the operations by kind and kernel, as parts of one inference."""
    by_kind: dict[str, list[OperationTime]] = defaultdict(list)
    for each in operations.times:
        by_kind[each.kind].append(each)
    scale = infer_ms / max(operations.whole_ms, 1e-9)
    kinds = [
        _whole(kind, [TimeSpan(each.kernel, scale * each.real_ms) for each in times])
        for kind, times in by_kind.items()
    ]
    kinds.sort(key=lambda each: -each.milliseconds)
    return *kinds, TimeSpan(BETWEEN, scale * operations.between_ms)
