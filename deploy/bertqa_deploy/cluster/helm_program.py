"""Running the program `helm`, and saying in words of a switch why it failed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

from bertqa_deploy.cluster.access import Access
from bertqa_deploy.errors import ClusterError, SwitchedMeanwhileError

# What Helm says where another process has begun a revision, or has just made the same one.
_BY_ANOTHER = ("another operation", "release: already exists")
_CONFLICT = re.compile(r"applying object (\S+) \S+, Kind=(\w+): .*? with \"([^\"]+)\"", re.DOTALL)
_FIELD = re.compile(r"(?:: |- )(\.[^\s\"]+)$", re.MULTILINE)


class HelmProgram:
    """The program, as it is run for one release.

    Args:
        release: The name of the release.
        access: The cluster and the release's namespace.
        program: The program, by its path or by its name on PATH.
    """

    def __init__(self, release: str, access: Access, program: str) -> None:
        self._release = release
        self._access = access
        self._program = program

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Return what a command prints as JSON.

        Args:
            arguments: The command and its arguments, without those that name the cluster.
            stdin: What it reads.

        Raises:
            SwitchedMeanwhileError: Another process changes the release.
            ClusterError: There is no Helm, or it failed.
        """
        output = self._run(*arguments, "--output", "json", stdin=stdin)
        try:
            return json.loads(output)
        except ValueError as error:
            raise ClusterError(
                f"{self._program} {arguments[0]} does not print JSON: is it Helm 3.14 or newer?",
                detail=output.strip() or None,
            ) from error

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        done = self._call(*arguments, *self._access.helm_flags(), stdin=stdin)
        if done.returncode == 0:
            return done.stdout
        output = done.stderr.strip()
        last = output.splitlines()[-1] if output else f"ended with status {done.returncode}"
        if any(words in last for words in _BY_ANOTHER):
            raise SwitchedMeanwhileError(
                f"Another process is changing the release {self._release}: nothing was changed by "
                "this one. Run the same command again once it has ended.",
                detail=output,
            )
        raise ClusterError(self._conflict(output) or self._explained(last), detail=output or None)

    def _call(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        program = shutil.which(self._program)
        if program is None:
            raise ClusterError(f"There is no {self._program} on PATH: install Helm 3.14 or newer.")
        return subprocess.run(
            [program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self._access.helm_environment(),
        )

    def _explained(self, output: str) -> str:
        lowered = output.lower()
        where = f"the namespace {self._access.namespace}"
        if "not found" in lowered and "release" in lowered:
            return f"There is no release {self._release} in {where}: {self._elsewhere()}."
        if "forbidden" in lowered:
            return f"You may not change or read the release {self._release} in {where}."
        if "unreachable" in lowered or "connection refused" in lowered or "no such host" in lowered:
            return "The cluster cannot be reached: is KUBECONFIG right, and is the cluster up?"
        return f"helm: {output.removeprefix('Error: ').rstrip('.')}."

    def _elsewhere(self) -> str:
        """Return in which other namespaces a release of this name is, where that may be known."""
        done = self._call(
            *("list", "--all-namespaces", "--filter", f"^{re.escape(self._release)}$"),
            *("--output", "json", *self._access.helm_flags()),
        )
        found = json.loads(done.stdout) if done.returncode == 0 else []
        if not found:
            return "`helm list -A` shows all"
        return f"it is in {', '.join(sorted(each['namespace'] for each in found))}"

    def _conflict(self, output: str) -> str:
        """Return what another program has changed of what Helm would apply; empty if nothing."""
        found = _CONFLICT.search(output)
        if found is None:
            return ""
        name, kind, manager = found.groups()
        fields = ", ".join(dict.fromkeys(_FIELD.findall(output)))
        return (
            f"{manager} has changed the {kind} {name.rpartition('/')[2]} by hand ({fields}), and "
            "Helm does not overwrite that. Put what is to stay into the values (replicas are "
            "tracks.NAME.replicas and httpApi.replicas), and have Helm take it over once: `helm "
            f"upgrade {self._release} CHART --namespace {self._access.namespace} "
            "--reset-then-reuse-values --force-conflicts`."
        )
