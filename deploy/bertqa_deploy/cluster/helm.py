"""The release as Helm has it: its values are the only state, and every change is an upgrade."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from bertqa._reason import reason_of
from bertqa_deploy.cluster.access import Access, explaining
from bertqa_deploy.cluster.defaults import with_defaults
from bertqa_deploy.cluster.helm_program import HelmProgram
from bertqa_deploy.errors import ClusterError, SwitchedMeanwhileError

_CHART = "bert-qa"
_HISTORY = 256
_DEPLOYED, _SUPERSEDED, _FAILED, _PENDING = "deployed", "superseded", "failed", "pending-"
# An upgrade of a rollout waits for nothing, so one that takes longer was killed.
_PENDING_SECONDS = 60.0
_LOOK_SECONDS = 2.0
# The values that a rollout changes.
_OF_A_ROLLOUT = ("tracks", "rollout")

Values = dict[str, Any]
Tracks = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Revision:
    number: int
    status: str
    chart: str
    updated: datetime


class Helm:
    """One release, reached with the program `helm`.

    Args:
        release: The release's name.
        access: The cluster and the release's namespace.
        chart: The directory of the chart that it was installed from.
        program: The program, by its path or by its name on PATH.

    Attributes:
        took_up: Whether `settle` has found an interrupted upgrade.
    """

    def __init__(self, release: str, access: Access, chart: Path, program: str = "helm") -> None:
        self.release = release
        self.access = access
        self.chart = chart
        self.program = program
        self.took_up = False
        self._run = HelmProgram(release, access, program)
        # The revision that an upgrade of this process left unfinished.
        self._left: int | None = None

    def values(self, revision: int | None = None) -> Values:
        """Return all values of the release, defaults included, also where they are null.

        Args:
            revision: The revision, by default the current one.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or has no such release.
        """
        return with_defaults(self._values("--all", revision=revision))

    def place(self, values: Values) -> Access:
        """Return the cluster and the namespace of the release's objects.

        Args:
            values: All values of the release, which may name another namespace than its own.
        """
        namespace = values.get("namespaceOverride") or self.access.namespace
        return replace(self.access, namespace=str(namespace))

    def tracks(self) -> Tracks:
        """Return the tracks of the release without those that were removed.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or has no such release.
        """
        return tracks_of(self.values())

    def in_effect(self) -> tuple[Values, str | None]:
        """Return all values of the last complete revision, and what a newer one is; change nothing.

        Returns:
            The values, and a sentence about an upgrade that is under way, was interrupted or
            failed; None where there is none.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or has no such release.
        """
        history = self._history()
        newest, complete = history[-1], self._last_complete(history)
        values = self.values(complete.number)
        if newest is complete:
            return values, None
        return values, f"Revision {newest.number} of {self.release} is {newest.status}."

    def settle(self, since: int | None = None) -> int:
        """Return the number of the deployed revision; what was interrupted is taken up before.

        An upgrade that was killed leaves the release pending for ever, and one that failed is not
        complete. A rollout's own upgrade takes seconds, so it is completed after a minute, but for
        new weights, which are put back: what was proven before may not be so any more. An upgrade
        that changed more is its owner's.

        Args:
            since: The revision that was read before, and that has to be the last complete one.

        Raises:
            SwitchedMeanwhileError: There is another one since.
            ClusterError: The cluster cannot be reached or refuses, or the release is in the middle
                of something else.
        """
        begun = time.monotonic()
        while True:
            history = self._history()
            newest, complete = history[-1], self._last_complete(history)
            ours = {since, self._left}
            if since is not None and not {complete.number, newest.number} <= ours:
                raise SwitchedMeanwhileError(
                    f"The release {self.release} was changed meanwhile (revision "
                    f"{newest.number}, where {since} was read), and was left as it is: look at "
                    f"it with `bert-qa versions --release {self.release}`, and run the command "
                    "again."
                )
            if newest is complete:
                return newest.number
            if self._is_under_way(newest) and time.monotonic() - begun < _PENDING_SECONDS:
                time.sleep(_LOOK_SECONDS)
                continue
            self._check_is_of_a_rollout(complete, newest)
            self._take_up(complete, newest)
            since = None

    def upgrade(
        self,
        tracks: Mapping[str, dict[str, Any] | None],
        rollout: Mapping[str, Any] | None = None,
        *,
        since: int | None = None,
    ) -> int:
        """Upgrade the release to these tracks.

        All values that its owner set stay; the others come from the chart, as before.

        Args:
            tracks: The tracks to change, by name. None removes one.
            rollout: The memory of a rollout, as the chart's values have it; None leaves it.
            since: The revision that was read before, and that has to be the current one.

        Returns:
            The new revision.

        Raises:
            SwitchedMeanwhileError: Another process upgraded the release.
            ClusterError: The cluster cannot be reached, refuses, or the chart cannot be read.
        """
        number = self.settle(since)
        values = self._values(revision=number)
        given = values["tracks"] = values.get("tracks") or {}
        for name, track in tracks.items():
            given.pop(name, None)
            if track is not None:
                given[name] = track
            elif name in self._chart_file("values.yaml").get("tracks", {}):
                given[name] = None
        if rollout is not None:
            values["rollout"] = dict(rollout)
        self._left = number + 1
        upgraded = self._upgrade_to(values)
        self._left = None
        if upgraded != number + 1:
            raise SwitchedMeanwhileError(
                f"The release {self.release} was upgraded by another process at the same time, and "
                f"revision {upgraded - 1} is not in effect any more: look at both with "
                f"`helm history {self.release}`."
            )
        return upgraded

    def check_kind(self) -> None:
        """Check that the release is of the chart, whatever its version.

        Raises:
            ClusterError: It is of another one, whose values have other names.
        """
        self._metadata()

    def check_chart(self) -> None:
        """Check that the release is of the chart, and of its version.

        Raises:
            ClusterError: It is of another one: another version is an upgrade of its own.
        """
        found, here = self._metadata(), self._chart_file("Chart.yaml")
        if here.get("name") != _CHART:
            raise ClusterError(f"{self.chart} is the chart {here.get('name')}, not {_CHART}.")
        if found["version"] != here.get("version"):
            raise ClusterError(
                f"The release {self.release} is of chart version {found['version']}, and "
                f"{self.chart} is {here.get('version')}: name the same with --chart, or upgrade "
                "the release first."
            )

    def _metadata(self) -> Values:
        found: Values = self._run.json("get", "metadata", self.release)
        if found["chart"] != _CHART:
            raise ClusterError(
                f"The release {self.release} is of the chart {found['chart']}, not of {_CHART}: "
                "where that is a part of it, `helm upgrade` moves its traffic."
            )
        return found

    def _history(self) -> list[_Revision]:
        """Return the revisions, the newest last."""
        found = self._run.json("history", self.release, "--max", str(_HISTORY))
        revisions = [
            _Revision(
                int(each["revision"]),
                str(each["status"]),
                str(each["chart"]),
                datetime.fromisoformat(each["updated"]),
            )
            for each in found
        ]
        return sorted(revisions, key=lambda each: each.number)

    def _last_complete(self, history: list[_Revision]) -> _Revision:
        # Helm's last two changes are that the old revision is superseded, and the new one deployed;
        # a first installation that was not ready in time is failed.
        for status in (_DEPLOYED, _SUPERSEDED, _FAILED):
            for each in reversed(history):
                if each.status == status:
                    return each
        raise ClusterError(f"The release {self.release} is {history[-1].status}: install it first.")

    def _is_under_way(self, revision: _Revision) -> bool:
        """Return whether a process may still be at it; its clock may differ from this one's."""
        age = (datetime.now(UTC) - revision.updated).total_seconds()
        return (
            revision.status.startswith(_PENDING)
            and revision.number != self._left
            and age < _PENDING_SECONDS
        )

    def _check_is_of_a_rollout(self, complete: _Revision, newest: _Revision) -> None:
        """Refuse to undo an upgrade that changed more than a rollout does."""
        before, after = (
            {
                name: value
                for name, value in self.values(each.number).items()
                if name not in _OF_A_ROLLOUT
            }
            for each in (complete, newest)
        )
        if before == after and complete.chart == newest.chart:
            return
        raise ClusterError(
            f"Revision {newest.number} of the release {self.release} is {newest.status}, and "
            f"changes more than its traffic: wait until it is complete, or return with `helm "
            f"rollback {self.release} {complete.number}`. Nothing was changed."
        )

    def _take_up(self, complete: _Revision, newest: _Revision) -> None:
        """Complete an interrupted upgrade from the last complete revision, or put weights back.

        So is the memory where it alone changed: what it would call complete is under way until
        then. `helm rollback` refuses where the upgrade was to remove what is still there.
        """
        before, after = (tracks_of(self.values(each.number)) for each in (complete, newest))
        weights = [
            {name: track.get("weight") for name, track in tracks.items() if track.get("weight")}
            for tracks in (before, after)
        ]
        chosen = newest if before != after and weights[0] == weights[1] else complete
        values = self._values(revision=chosen.number)
        is_pending = newest.status.startswith(_PENDING)
        if is_pending:
            self._forget(newest)
        self._left = newest.number + (not is_pending)
        self._upgrade_to(values)
        self._left = None
        self.took_up = True

    def _forget(self, revision: _Revision) -> None:
        """Delete Helm's record of a revision, without which it takes no other upgrade."""
        api: Any = client.CoreV1Api(self.access.open_client())
        deletes = {
            "secret": api.delete_namespaced_secret,
            "configmap": api.delete_namespaced_config_map,
        }
        driver = (os.environ.get("HELM_DRIVER") or "secret").removesuffix("s")
        if driver not in deletes:
            raise ClusterError(
                f"Revision {revision.number} of the release {self.release} is {revision.status}: "
                f"return with `helm rollback {self.release}`."
            )
        name = f"sh.helm.release.v1.{self.release}.v{revision.number}"
        with explaining(self.access.namespace, f"{driver}s"):
            deletes[driver](name, self.access.namespace)

    def _upgrade_to(self, values: Values) -> int:
        """Upgrade to these values, the chart's for all others, and return the new revision."""
        upgraded = self._run.json(
            *("upgrade", self.release, str(self.chart), "--reset-values", "--values", "-"),
            stdin=json.dumps(values),
        )
        return int(upgraded["version"])

    def _values(self, *flags: str, revision: int | None) -> Values:
        at = () if revision is None else ("--revision", str(revision))
        return copy.deepcopy(self._run.json("get", "values", self.release, *flags, *at) or {})

    def _chart_file(self, name: str) -> Values:
        try:
            content = yaml.safe_load((self.chart / name).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ClusterError(
                f"{self.chart} is not the chart of bert-qa: {name}: {reason_of(error)}."
            ) from error
        return dict(content or {})


def tracks_of(values: Mapping[str, Any]) -> Tracks:
    """Return the tracks without those that were removed.

    Args:
        values: All values of a release.
    """
    return {name: track for name, track in (values.get("tracks") or {}).items() if track}
