"""Which version a track serves that follows the newest one."""

from __future__ import annotations

from bertqa_deploy.cluster.defaults import LATEST
from bertqa_deploy.cluster.helm import Values, tracks_of
from bertqa_deploy.cluster.pods import Pods


def put_numbers(values: Values, pods: Pods) -> dict[str, int]:
    """Put in the place of each `latest` the version that the track's pods serve.

    Args:
        values: All values of a release, which are changed. A track of which no pod is ready is
            left as it is.
        pods: The pods of the release.

    Returns:
        The tracks that were changed, with their versions.

    Raises:
        ClusterError: The cluster cannot be reached, or refuses.
    """
    following = {}
    for name, track in tracks_of(values).items():
        if track["version"] != LATEST:
            continue
        served = pods.served(name, str(values["model"]["name"]))
        if served is not None:
            following[name] = track["version"] = served
    return following
