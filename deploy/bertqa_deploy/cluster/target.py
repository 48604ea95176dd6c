"""A Helm release whose traffic is moved: a version is a track, and a split is the tracks' weights.

A track's version never changes in a rollout. A newcomer is a further track without weight; to
switch is one upgrade that changes weights alone, which replaces no pod; and the tracks that the
goal does not have are removed at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bertqa import QAClient
from bertqa.artifact import Split, format_split
from bertqa.errors import BertQAError, InvalidOptionError
from bertqa.transport import ANSWER_SECONDS, AdminClient, patiently, rest_address
from bertqa_deploy.cluster.helm import Tracks
from bertqa_deploy.cluster.pods import Pod
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.traffic import Release, release_of, values_of, weight_of
from bertqa_deploy.errors import ClusterError, DeployError, SwitchUnfinishedError
from bertqa_deploy.rollout import Counts, OnStep, State, counts_of
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.waiting import named

# One that is hung for longer is not to have traffic: this is not the patience of the cluster.
_METRICS_PATIENCE_SECONDS = 60.0


class ReleaseTarget:
    """A Helm release as a target of rollouts.

    A track that follows the newest version is pinned first to the one that it serves.

    Args:
        cluster: The release.
        smoke: The question that a version has to answer before it gets traffic.
        on_step: Is called with a sentence for each step.

    Attributes:
        name: "release" with its name.
    """

    def __init__(
        self, cluster: HelmCluster, smoke: Smoke | None = None, on_step: OnStep = lambda _: None
    ) -> None:
        self.name = f"release {cluster.name}"
        self._cluster = cluster
        self._smoke = smoke or Smoke()
        self._on_step = on_step

    def current(self) -> State:
        """See `TrafficTarget`; every change builds on what is read here."""
        release = release_of(self._cluster.begin())
        settled = not self._cluster.was_interrupted() and self._cluster.has_only(release.tracks)
        return replace(release.state, settled=settled)

    def check(self, goal: Split) -> None:
        """See `TrafficTarget`: at most two versions, in whole percents."""
        release = release_of(self._cluster.values())
        if any(percent != round(percent) for percent in goal.values()):
            raise InvalidOptionError(
                f"The split {format_split(goal)} is not of whole percents, as weights are."
            )
        if len(goal) > 1 and not release.weighted:
            raise ClusterError(
                "Without a gateway (gateway.enabled) and the HTTP API (httpApi.enabled) the split "
                f"{format_split(goal)} is not possible: enable one, or switch at once (--steps "
                "100)."
            )
        state = release.state
        if len({*goal, *state.served, *state.memory.good}) > 2:
            raise ClusterError(
                f"The release serves {named(set(state.served))}, and a rollout is between two "
                f"versions: complete or undo (--back) that one, or remove a track, before "
                f"{format_split(goal)}."
            )

    def kept(self, state: State, goal: Split) -> frozenset[int]:
        """See `TrafficTarget`: only versions with traffic have pods."""
        return frozenset(goal)

    def prove(self, versions: frozenset[int]) -> None:
        """See `TrafficTarget`; waits until all of their pods are ready."""
        names = release_of(self._cluster.values()).names
        self._cluster.wait_until_rolled_out([names[version] for version in versions])
        for version in sorted(versions):
            with self.client(version) as client:
                try:
                    answer = self._smoke.check(client, version)
                except DeployError:
                    raise
                except BertQAError as error:
                    raise DeployError(
                        f"Version {version} does not answer: {error}", detail=error.detail
                    ) from error
            self._on_step(f"version {version} answers {answer!r}")

    def apply(self, wanted: State) -> None:
        """See `TrafficTarget`: upgrades that add tracks, then weigh them, then remove tracks.

        What has no traffic is not waited for, so that it never blocks the way back. A rollout is
        noted as complete once the pods of removed tracks are gone: one that is killed in that wait
        is still under way, so that the same command does not begin another.
        """
        release = release_of(self._cluster.resume())
        release = self._pin(release, wanted)
        release = self._add(release, wanted)
        release = self._weigh(release, wanted)
        # Also where nothing was changed: a rollout that was killed may not have waited.
        leaving = {name for v, name in release.names.items() if v not in wanted.served}
        removes_ready = bool(leaving) and bool(leaving & self._ready_tracks())
        self._cluster.wait_until_led(routed=release.routed, to_ready=removes_ready)
        if release.answers_http:
            self._cluster.wait_until_followed(release.state.split)
        release = self._remove(release, wanted)
        if wanted.memory.goal is None:
            self._drain(release, wanted)
            if release.memory != values_of(wanted.memory):
                self._upgrade(release, {}, wanted)

    def observe(self, version: int) -> Mapping[str, Counts]:
        """See `TrafficTarget`: each pod whose server runs, ready or not, by its name."""
        found = {}
        for pod in self._pods_of(version):
            counts = self._counts(pod)
            if counts is not None:
                found[pod.name] = counts
        return found

    def unready(self, release: Release) -> set[int]:
        """Return the versions with traffic of which no pod is ready.

        Args:
            release: The release as it was read.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        ready = self._ready_tracks()
        return {version for version in release.state.split if release.names[version] not in ready}

    @contextmanager
    def client(self, version: int) -> Iterator[QAClient]:
        """Return a client whose questions reach a version's own pod, with or without traffic.

        Args:
            version: Its number.

        Raises:
            ClusterError: It has no pod that is ready.
        """
        pod = next((pod for pod in self._pods_of(version) if pod.ready), None)
        if pod is None:
            raise ClusterError(f"No pod of version {version} is ready.")
        with (
            self._cluster.connect(pod) as url,
            QAClient(url, model=self._cluster.model) as client,
        ):
            yield client

    def _pin(self, release: Release, wanted: State) -> Release:
        """Have tracks that follow the newest version stay at the one that they serve."""
        following = self._cluster.following
        if not following:
            return release
        pinned = {name: release.tracks[name] for name in following}
        release = self._upgrade(release, pinned, wanted)
        for name, version in following.items():
            self._on_step(f"the track {name} stays at version {version}: it followed the newest")
        self._cluster.wait_until_rolled_out(following)
        return release

    def _add(self, release: Release, wanted: State) -> Release:
        """Serve the versions that are missing, without traffic."""
        missing = sorted(wanted.served - release.names.keys())
        if not missing:
            return release
        heaviest = release.heaviest
        pods = self._cluster.replicas(heaviest)
        added: Tracks = {}
        for version in missing:
            name = _free_name(version, {*release.tracks, *added})
            added[name] = {
                **release.tracks[heaviest],
                "version": version,
                "weight": 0,
                **({"replicas": pods} if pods else {}),
            }
        release = self._upgrade(release, added, wanted)
        for name, track in added.items():
            self._on_step(f"version {track['version']} is the track {name}, without traffic")
        return release

    def _weigh(self, release: Release, wanted: State) -> Release:
        """Bring the weights and the memory to what is wanted, where they are not so."""
        names = release.names
        weights = {name: round(wanted.split.get(v, 0)) for v, name in names.items()}
        present = {name: weight_of(track) for name, track in release.tracks.items()}
        if weights == present:
            is_begun = wanted.memory.goal is not None and wanted.served >= names.keys()
            if is_begun and release.memory != values_of(wanted.memory):
                release = self._upgrade(release, {}, wanted)
            return release
        gains = {v: name for v, name in names.items() if weights[name] > present[name]}
        good = wanted.memory.good
        self._cluster.wait_until_rolled_out([name for v, name in gains.items() if v not in good])
        # Whatever became of the others, the way back to a good version is open while it has a pod.
        self._cluster.wait_until_one_is_ready([name for v, name in gains.items() if v in good])
        changed = {n: {**track, "weight": weights[n]} for n, track in release.tracks.items()}
        release = self._upgrade(release, changed, wanted)
        self._on_step(f"the split is {format_split(wanted.split)}")
        return release

    def _remove(self, release: Release, wanted: State) -> Release:
        """Take away the versions that are not to be served."""
        leaving = {v: name for v, name in release.names.items() if v not in wanted.served}
        if not leaving:
            return release
        noted = release.memory if wanted.memory.goal is None else values_of(wanted.memory)
        release = self._upgraded(release, dict.fromkeys(leaving.values()), noted)
        self._on_step(f"{named(set(leaving))} {'is' if len(leaving) == 1 else 'are'} taken away")
        return release

    def _drain(self, release: Release, wanted: State) -> None:
        """Wait until no client can reach a version that was taken away."""
        try:
            self._cluster.wait_until_only(release.tracks)
        except ClusterError as error:
            raise SwitchUnfinishedError(
                f"The split is {format_split(wanted.split)}, but clients that keep a connection "
                f"may still reach another version: {error} Run the same command again to wait.",
                detail=error.detail,
            ) from error

    def _upgrade(
        self, release: Release, tracks: Mapping[str, dict[str, Any] | None], wanted: State
    ) -> Release:
        """Change tracks, None removes one, and the memory; return the release afterwards."""
        return self._upgraded(release, tracks, values_of(wanted.memory))

    def _upgraded(
        self,
        release: Release,
        tracks: Mapping[str, dict[str, Any] | None],
        memory: Mapping[str, Any],
    ) -> Release:
        self._cluster.upgrade(tracks, memory)
        left = {name: track for name, track in {**release.tracks, **tracks}.items() if track}
        return replace(release, tracks=left, memory=memory)

    def _ready_tracks(self) -> set[str]:
        """Return the tracks that have a ready pod."""
        return {pod.track for pod in self._cluster.pods() if pod.ready}

    def _pods_of(self, version: int) -> list[Pod]:
        return [pod for pod in self._cluster.pods() if pod.version == str(version)]

    def _counts(self, pod: Pod) -> Counts | None:
        """Return what a pod has counted since its server started; None if it is gone meanwhile."""
        if not pod.started:
            # It has served nothing since it started, but may have been restarted.
            return Counts(restarts=pod.restarts)
        with (
            self._cluster.connect(pod) as url,
            AdminClient(rest_address(url), timeout=ANSWER_SECONDS) as admin,
        ):
            try:
                samples = patiently(admin.metrics, _METRICS_PATIENCE_SECONDS, met=False)
            except BertQAError as error:
                if pod.name not in {each.name for each in self._cluster.pods()}:
                    return None
                raise ClusterError(
                    f"The metrics of the pod {pod.name} cannot be read: {error}",
                    detail=error.detail,
                ) from error
        return replace(counts_of(samples, self._cluster.model, pod.version), restarts=pod.restarts)


def _free_name(version: int, taken: set[str]) -> str:
    name, number = f"v{version}", 1
    while name in taken:
        number += 1
        name = f"v{version}-{number}"
    return name
