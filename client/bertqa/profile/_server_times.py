"""What a server says that its requests took, by its own metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertqa.errors import BertQAError
from bertqa.transport import AdminClient

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

_INFER = "ovms_inference_time_us"
_WAIT = "ovms_wait_for_infer_req_time_us"
_WHOLE = "ovms_request_time_us"


@dataclass(frozen=True, slots=True)
class ServerTimes:
    """The times of all requests to one version, in milliseconds.

    Attributes:
        requests: How many there were.
        infer_ms: How long the model ran.
        queue_ms: How long they waited for one of OpenVINO's streams.
        whole_ms: From reading a request to its response.
    """

    requests: float = 0.0
    infer_ms: float = 0.0
    queue_ms: float = 0.0
    whole_ms: float = 0.0

    def since(self, earlier: ServerTimes) -> ServerTimes:
        """Return what came after an earlier reading.

        Args:
            earlier: The earlier reading.
        """
        return ServerTimes(
            self.requests - earlier.requests,
            self.infer_ms - earlier.infer_ms,
            self.queue_ms - earlier.queue_ms,
            self.whole_ms - earlier.whole_ms,
        )


def server_times(admin: AdminClient, model: str, version: int) -> ServerTimes | None:
    """Return the times so far, None where the server shows no metrics.

    Args:
        admin: A client of the server's REST address.
        model: The model's name.
        version: The version.
    """
    try:
        samples = admin.metrics()
    except (BertQAError, ModuleNotFoundError):
        return None
    return _times_of(samples, model, version)


def _times_of(samples: Iterable[Sample], model: str, version: int) -> ServerTimes | None:
    found = dict.fromkeys((f"{_INFER}_count", *(f"{n}_sum" for n in (_INFER, _WAIT, _WHOLE))), 0.0)
    known = False
    for sample in samples:
        labels = sample.labels
        is_of_version = (labels.get("name"), labels.get("version")) == (model, str(version))
        if is_of_version and sample.name in found:
            found[sample.name] += sample.value
            known = True
    if not known:
        return None
    requests, *sums = found.values()
    return ServerTimes(requests, *(each / 1000 for each in sums))
