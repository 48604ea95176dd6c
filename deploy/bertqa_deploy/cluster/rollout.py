"""Moving a release's traffic to another version in steps, within limits, with automatic rollback.

All state is read from the release and its pods: after an interruption, run the same command again
to resume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bertqa import QAClient
from bertqa.artifact import Split
from bertqa.errors import BertQAError, InvalidOptionError
from bertqa.evaluation import SquadDataset
from bertqa.qa import normalize
from bertqa.transport import ANSWER_SECONDS, AdminClient, patiently, rest_address
from bertqa_deploy.cluster.helm import Tracks
from bertqa_deploy.cluster.metrics import Counts, TrackCounts, counts_of
from bertqa_deploy.cluster.release import ALL, LATEST, Cluster
from bertqa_deploy.errors import ClusterError, DeployError, NothingToDoError, RolledBackError
from bertqa_deploy.smoke import Smoke

CANDIDATE = "candidate"
STEPS = (5, 25, 50, ALL)
_LOOK_SECONDS = 5.0
# One that is hung for longer is not to have traffic: this is not --step-timeout.
_METRICS_PATIENCE_SECONDS = 60.0

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a candidate has to stay within, judged while it is held at a step.

    Attributes:
        error_percent: The largest share of failed requests, in percent.
        p95_factor: The largest ratio of the 95th percentiles of latency, to the stable track's.
        disagreement_percent: The largest share of answers that differ from the stable track's.
        requests: The number of requests, to each track, from which latency is judged.
    """

    error_percent: float = 1.0
    p95_factor: float = 1.5
    disagreement_percent: float = 25.0
    requests: int = 20


@dataclass(frozen=True, slots=True)
class Rollout:
    """One release on its way to another version.

    Attributes:
        cluster: The release.
        smoke: The question that a candidate has to answer before it gets traffic.
        steps: Percents of the traffic, ascending, at each of which the candidate is held.
        pause_seconds: How long it is held at each step.
        limits: What it has to stay within.
        dataset: The questions that show how often both tracks disagree; without them that is not
            measured.
        on_step: Is called with a sentence for each step.

    Raises:
        InvalidOptionError: The steps do not ascend, or are not percents.
    """

    cluster: Cluster
    smoke: Smoke = field(default_factory=Smoke)
    steps: Sequence[int] = STEPS
    pause_seconds: float = 120.0
    limits: Limits = field(default_factory=Limits)
    dataset: SquadDataset | None = None
    on_step: OnStep = lambda _: None

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(set(self.steps)):
            raise InvalidOptionError(f"The steps {list(self.steps)} do not ascend.")
        if self.steps[0] < 1 or self.steps[-1] > ALL:
            raise InvalidOptionError(f"The steps {list(self.steps)} are not percents, 1 to 100.")

    def move(self, split: Split) -> Tracks:
        """Bring the release to a split of one or two versions; a single one is promoted.

        Args:
            split: The percent of the traffic by version, whole numbers.

        Returns:
            The tracks afterwards.

        Raises:
            RolledBackError: The candidate crossed a limit, and has no traffic any more.
            NothingToDoError: The release is as it should be already.
            ClusterError: The cluster cannot be reached, refuses, or cannot do this.
            InvalidOptionError: The split has a percentage that is not whole.
        """
        wanted = {version: round(percent) for version, percent in split.items() if percent > 0}
        if any(wanted[version] != split[version] for version in wanted):
            raise InvalidOptionError("A cluster's weights are whole percents.")
        tracks = self._checked_tracks()
        stable = self._stable_of(tracks, wanted)
        version = next((each for each in wanted if each != tracks[stable]["version"]), None)
        if version is None:
            return self._only_stable(tracks, stable)
        if len(wanted) > 1 and tracks[stable]["version"] not in wanted:
            raise ClusterError(
                f"The split names versions {sorted(wanted)}, but version "
                f"{tracks[stable]['version']} has the traffic now: split between it and one other."
            )
        candidate = self._candidate_of(tracks, stable, version)
        goal = wanted[version]
        try:
            self._add(tracks, stable, candidate, version)
            self._prove(stable, candidate)
            for weight in self._steps_to(goal, tracks.get(candidate, {}).get("weight", 0)):
                self._shift(stable, candidate, weight)
                self._hold(stable, candidate, weight)
        except (ClusterError, DeployError) as error:
            self._roll_back(stable, candidate, error)
        if goal == ALL:
            self._promote(stable, candidate)
        return self.cluster.tracks()

    def back(self) -> Tracks:
        """Send all traffic back: to the stable track while there is a candidate, else to the
        version that had it before.

        Returns:
            The tracks afterwards.

        Raises:
            NothingToDoError: No other version has ever had all traffic.
            ClusterError: The cluster cannot be reached, refuses, or cannot do this.
        """
        tracks = self._checked_tracks()
        if len(tracks) > 1:
            stable = max(tracks, key=lambda name: (name != CANDIDATE, tracks[name]["weight"]))
            return self._only_stable(tracks, stable)
        (current,) = (track["version"] for track in tracks.values())
        for version in self.cluster.former_versions():
            if version != current:
                return self.move({version: float(ALL)})
        raise NothingToDoError(
            f"There is nothing to go back to: version {current} has always had all traffic."
        )

    def _checked_tracks(self) -> Tracks:
        values, tracks = self.cluster.values(), self.cluster.tracks()
        if values.get("kserve", {}).get("enabled"):
            raise ClusterError(
                "KServe moves the traffic of this release: its canary is the weight of the newest "
                "track, and `helm upgrade` changes that."
            )
        if len(tracks) > 2:
            raise ClusterError(
                f"The release has the tracks {', '.join(tracks)}: a switch is between two."
            )
        following = [name for name, track in tracks.items() if track["version"] == LATEST]
        if following:
            raise ClusterError(
                f"The track {following[0]} follows the latest version: set its number first."
            )
        if not values.get("gateway", {}).get("enabled") and tuple(self.steps) != (ALL,):
            raise ClusterError(
                "Without a gateway (gateway.enabled) weights do not split traffic: enable it, or "
                "switch at once with --steps 100."
            )
        return tracks

    def _stable_of(self, tracks: Tracks, wanted: Mapping[int, int]) -> str:
        """Return the track that traffic comes from: of two, the one that is not a candidate."""
        if len(tracks) == 1:
            return next(iter(tracks))
        return min(
            tracks, key=lambda name: (name == CANDIDATE, tracks[name]["version"] in wanted, name)
        )

    def _candidate_of(self, tracks: Tracks, stable: str, version: int) -> str:
        other = next((name for name in tracks if name != stable), CANDIDATE)
        if other in tracks and tracks[other]["version"] != version:
            raise ClusterError(
                f"The track {other} has version {tracks[other]['version']}: finish that switch or "
                "undo it with --back before another one."
            )
        return other

    def _steps_to(self, goal: int, present: int) -> list[int]:
        return [*(step for step in self.steps if present < step < goal), goal]

    def _add(self, tracks: Tracks, stable: str, candidate: str, version: int) -> None:
        if candidate in tracks:
            return
        self.on_step(f"the track {candidate} with version {version}, without traffic")
        self._set({candidate: {**tracks[stable], "version": version, "weight": 0}})

    def _prove(self, stable: str, candidate: str) -> None:
        """Ask the candidate the smoke question, and both tracks the data set's questions."""
        with self._client(candidate) as (client, version):
            try:
                answer = self.smoke.check(client, version)
            except DeployError:
                raise
            except BertQAError as error:
                raise DeployError(
                    f"Version {version} does not answer: {error}", detail=error.detail
                ) from error
            self.on_step(f"version {version} answers {answer!r}")
            if self.dataset is None:
                return
            with self._client(stable) as (other, _):
                pairs = [(each.question, each.context) for each in self.dataset]
                answers = zip(client.answer_many(pairs), other.answer_many(pairs), strict=True)
                unlike = sum(normalize(a.text) != normalize(b.text) for a, b in answers)
        percent = 100 * unlike / len(pairs)
        self.on_step(f"the tracks disagree on {percent:.1f} % of {len(pairs)} questions")
        if percent > self.limits.disagreement_percent:
            raise DeployError(
                f"The tracks disagree on {percent:.1f} % of the questions, and "
                f"{self.limits.disagreement_percent:g} % are allowed."
            )

    def _shift(self, stable: str, candidate: str, weight: int) -> None:
        tracks = self.cluster.tracks()
        if tracks[candidate]["weight"] == weight:
            return
        self.on_step(f"{weight} % to {candidate}, {ALL - weight} % to {stable}")
        self._set(
            {
                stable: {**tracks[stable], "weight": ALL - weight},
                candidate: {**tracks[candidate], "weight": weight},
            }
        )

    def _hold(self, stable: str, candidate: str, weight: int) -> None:
        """Watch the metrics until the pause is over. Raises DeployError at a crossed limit."""
        begun = time.monotonic()
        tracks = {name: TrackCounts(self._counts(name)) for name in (stable, candidate)}
        while True:
            time.sleep(min(_LOOK_SECONDS, max(0, begun + self.pause_seconds - time.monotonic())))
            since = {name: counted.add(self._counts(name)) for name, counted in tracks.items()}
            self._judge(since[stable], since[candidate])
            if time.monotonic() >= begun + self.pause_seconds:
                break
        new = since[candidate]
        p95 = "" if new.p95_ms is None else f", 95th percentile {new.p95_ms:.1f} ms"
        self.on_step(
            f"held at {weight} %: {new.requests:.0f} requests to {candidate}, "
            f"{new.error_percent:.1f} % failed{p95}"
        )

    def _judge(self, stable: Counts, candidate: Counts) -> None:
        limits = self.limits
        if candidate.error_percent > limits.error_percent:
            raise DeployError(
                f"{candidate.error_percent:.1f} % of {candidate.requests:.0f} requests failed, and "
                f"{limits.error_percent:g} % are allowed."
            )
        if min(stable.requests, candidate.requests) < limits.requests:
            return
        theirs, ours = stable.p95_ms, candidate.p95_ms
        if theirs and ours and ours > limits.p95_factor * theirs:
            raise DeployError(
                f"The 95th percentile of its latency is {ours:.1f} ms, and {limits.p95_factor:g} "
                f"times the {theirs:.1f} ms of the stable track are allowed."
            )

    def _promote(self, stable: str, candidate: str) -> None:
        """Let the stable track have the candidate's version, then its traffic; pods stay up."""
        tracks = self.cluster.tracks()
        version = tracks[candidate]["version"]
        self.on_step(f"the track {stable} takes over version {version}")
        self._set({stable: {**tracks[stable], "version": version, "weight": 0}})
        self._only_stable(self.cluster.tracks(), stable)

    def _only_stable(self, tracks: Tracks, stable: str) -> Tracks:
        """Send all traffic to one track, then remove the other."""
        others = [name for name in tracks if name != stable]
        if not others:
            raise NothingToDoError(
                f"Version {tracks[stable]['version']} has all traffic already: nothing was changed."
            )
        self.on_step(f"all traffic to {stable}, version {tracks[stable]['version']}")
        # A track that is removed may be the one that does not roll out: only the other counts.
        if tracks[stable]["weight"] != ALL:
            without = {name: {**tracks[name], "weight": 0} for name in others}
            self.cluster.set_tracks(
                {stable: {**tracks[stable], "weight": ALL}, **without}, wait_for=[stable]
            )
        self.cluster.set_tracks(dict.fromkeys(others), wait_for=[stable])
        return self.cluster.tracks()

    def _roll_back(self, stable: str, candidate: str, reason: BertQAError) -> None:
        tracks = self.cluster.tracks()
        if candidate in tracks:
            version = tracks[candidate]["version"]
            self._only_stable(tracks, stable)
            raise RolledBackError(
                f"Version {version} was rolled back, and {stable} has all traffic again. {reason}",
                detail=reason.detail,
            ) from reason
        raise reason

    def _set(self, tracks: Tracks) -> None:
        self.cluster.set_tracks(tracks, wait_for=tracks)

    @contextmanager
    def _client(self, track: str) -> Iterator[tuple[QAClient, int]]:
        pods = [pod for pod in self.cluster.pods() if pod.track == track and pod.ready]
        if not pods:
            raise ClusterError(f"No pod of the track {track} is ready.")
        with (
            self.cluster.connect(pods[0]) as url,
            QAClient(url, model=self.cluster.model) as client,
        ):
            yield client, int(pods[0].version)

    def _counts(self, track: str) -> dict[str, Counts]:
        """Read what each ready pod of a track has counted since it started, by its name."""
        found = {}
        for pod in self.cluster.pods():
            if pod.track == track and pod.ready:
                with (
                    self.cluster.connect(pod) as url,
                    AdminClient(rest_address(url), timeout=ANSWER_SECONDS) as admin,
                ):
                    try:
                        samples = patiently(admin.metrics, _METRICS_PATIENCE_SECONDS, met=False)
                    except BertQAError as error:
                        raise ClusterError(
                            f"The metrics of the pod {pod.name} cannot be read: {error}",
                            detail=error.detail,
                        ) from error
                found[pod.name] = counts_of(samples, self.cluster.model, pod.version)
        return found
