"""The release as Helm has it: its values are the only state, and every change is an upgrade."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bertqa._reason import reason_of
from bertqa_deploy.errors import ClusterError

_HISTORY = 256

Values = dict[str, Any]
Tracks = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Helm:
    """One release, reached with the program `helm`.

    Attributes:
        release: The release's name.
        namespace: The release's namespace.
        chart: The directory of the chart that it was installed from.
        program: The program, by its path or by its name on PATH.
    """

    release: str
    namespace: str
    chart: Path
    program: str = "helm"

    def values(self, revision: int | None = None) -> Values:
        """Return all values of the release, defaults included.

        Args:
            revision: The revision, by default the current one.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or has no such release.
        """
        return self._values("--all", revision=revision)

    def tracks(self, revision: int | None = None) -> Tracks:
        """Return the tracks of the release without those that were removed.

        Args:
            revision: The revision, by default the current one.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or has no such release.
        """
        tracks = self.values(revision).get("tracks") or {}
        return {name: track for name, track in tracks.items() if track}

    def set_tracks(self, tracks: Mapping[str, dict[str, Any] | None]) -> None:
        """Upgrade the release to these tracks.

        All values that its owner set stay; the others come from the chart, as before.

        Args:
            tracks: The tracks to change, by name. None removes one.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or the chart cannot be read.
        """
        values = self._values(revision=None)
        given = values.setdefault("tracks", {})
        for name, track in tracks.items():
            given.pop(name, None)
            if track is not None:
                given[name] = track
            elif name in self._chart_file("values.yaml").get("tracks", {}):
                given[name] = None
        self._run(
            *("upgrade", self.release, str(self.chart), "--reset-values", "--values", "-"),
            stdin=json.dumps(values),
        )

    def check_chart(self) -> None:
        """Check that the chart has the release's version.

        Raises:
            ClusterError: It has another one: that is an upgrade of its own.
        """
        found = self._json("get", "metadata", self.release)["version"]
        here = self._chart_file("Chart.yaml")["version"]
        if found != here:
            raise ClusterError(
                f"The release {self.release} is of chart version {found}, and {self.chart} is "
                f"{here}: name the same with --chart, or upgrade the release first."
            )

    def revisions(self) -> list[int]:
        """Return the release's revisions that were deployed, the newest first.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or has no such release.
        """
        history = self._json("history", self.release, "--max", str(_HISTORY))
        deployed = [each for each in history if each["status"] in ("deployed", "superseded")]
        return sorted((int(each["revision"]) for each in deployed), reverse=True)

    def _values(self, *flags: str, revision: int | None) -> Values:
        at = () if revision is None else ("--revision", str(revision))
        return copy.deepcopy(self._json("get", "values", self.release, *flags, *at) or {})

    def _chart_file(self, name: str) -> Values:
        try:
            content = yaml.safe_load((self.chart / name).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ClusterError(
                f"{self.chart} is not the chart of bert-qa: {name}: {reason_of(error)}."
            ) from error
        return dict(content or {})

    def _json(self, *arguments: str) -> Any:
        return json.loads(self._run(*arguments, "--output", "json"))

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        program = shutil.which(self.program)
        if program is None:
            raise ClusterError(f"There is no {self.program} on PATH: install Helm 3.14 or newer.")
        done = subprocess.run(
            [program, *arguments, "--namespace", self.namespace],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        output = done.stderr.strip()
        last = output.splitlines()[-1] if output else f"ended with status {done.returncode}"
        raise ClusterError(
            f"{self._explained(last)} Nothing was changed by this step.", detail=output or None
        )

    def _explained(self, output: str) -> str:
        lowered = output.lower()
        where = f"the namespace {self.namespace}"
        if "not found" in lowered and "release" in lowered:
            return f"There is no release {self.release} in {where}: `helm list -A` shows them."
        if "forbidden" in lowered:
            return f"You may not change or read the release {self.release} in {where}."
        if "unreachable" in lowered or "connection refused" in lowered or "no such host" in lowered:
            return "The cluster cannot be reached: is KUBECONFIG right, and is the cluster up?"
        return f"helm: {output.removeprefix('Error: ').rstrip('.')}."
