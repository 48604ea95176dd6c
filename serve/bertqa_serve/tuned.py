"""Settings that were measured on a machine, as a file of values for the Helm chart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bertqa._checks import MOST, refused, whole
from bertqa._reason import reason_of
from bertqa._words import counted
from bertqa.artifact import PRECISIONS, SETTING_RANGES, cpu_name, usable_topology
from bertqa.errors import InvalidOptionError

_MADE_FOR = re.compile(r"^# CPU: (.+)$", re.MULTILINE)
_NOT_SET = (None, 0, "")
# What the chart has in each section, first what is read here.
_KNOWN = {
    "server": (
        *("threads", "streams", "precision", "image", "logLevel", "pluginConfig"),
        *("maxConcurrentStreams", "grpcMaxThreads", "restWorkers", "maxRequestTokens"),
        *("requestTimeoutSeconds", "startupSeconds", "warmUpSeconds", "extraArgs"),
        *("extraContainers", "lifecycle", "pollSeconds"),
    ),
    "httpApi": (
        *("tokenBudget", "enabled", "image", "replicas", "workers", "queue"),
        *("bodyLimitMegabytes", "corsOrigins", "token", "clientSecretName", "extraArgs"),
        *("logLevel", "resources", "autoscaling", "service"),
    ),
}
_FIRST = ("the first is", "the first two are", "the first three are")


def this_machine() -> str:
    """Return the CPU of this machine, and what of it may be used."""
    topology = usable_topology()
    parts = [
        cpu_name(),
        counted(topology.cores, "core"),
        counted(topology.threads, "hardware thread"),
        counted(topology.nodes, "NUMA node"),
    ]
    return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedSettings:
    """Settings of a server, and of a client in front of it; None is not set.

    Attributes:
        threads: Threads of inference.
        streams: Requests that are computed at once.
        precision: What floating-point operations run in.
        token_budget: Tokens that the HTTP API puts into one request.
        made_for: The machine that they were measured on, by `this_machine`.
    """

    threads: int | None = None
    streams: int | None = None
    precision: str | None = None
    token_budget: int | None = None
    made_for: str | None = None

    @property
    def warning(self) -> str | None:
        """A sentence where they were measured on another machine than this one."""
        here = this_machine()
        if self.made_for in (None, here):
            return None
        return (
            f"These settings were measured on another machine ({self.made_for}) than this one "
            f"({here}): `bert-qa bench tune` finds those of this one."
        )

    def __str__(self) -> str:
        server = [
            *([counted(self.threads, "thread")] if self.threads else ()),
            *([counted(self.streams, "stream")] if self.streams else ()),
            *([self.precision] if self.precision else ()),
        ]
        budget = self.token_budget
        client = [f"{counted(budget, 'token')} in a request"] if budget else []
        if not server:
            return ", ".join(client) or "nothing"
        written = _FIRST[len(server) - 1] if client else "all of it is"
        stay = "stays" if written.endswith("is") else "stay"
        return f"{', '.join(server + client)}; {written} written into config.json and {stay}"

    def text(self, remarks: Sequence[str]) -> str:
        """Return the file.

        Args:
            remarks: What is said of them, a line each.
        """
        comments = [f"CPU: {self.made_for}"] if self.made_for else []
        # A name of a file may have a line break in it, after which it would be a setting.
        lines = [f"# {' '.join(each.split())}" for each in (*comments, *remarks)]
        server = {"threads": self.threads, "streams": self.streams, "precision": self.precision}
        for name, values in (("server", server), ("httpApi", {"tokenBudget": self.token_budget})):
            given = {key: value for key, value in values.items() if value is not None}
            lines += [f"{name}:"] if given else []
            lines += [f"  {key}: {value}" for key, value in given.items()]
        return "\n".join(lines) + "\n"


def read_tuned(path: Path) -> TunedSettings:
    """Read a file that `bert-qa bench tune` wrote; other values of the chart are passed over.

    Args:
        path: The file.

    Returns:
        The settings in it.

    Raises:
        InvalidOptionError: It cannot be read, a setting in it is not valid, or the chart has no
            setting of a name that is under `server` or `httpApi`.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        raise InvalidOptionError(f"{path} cannot be read: {reason_of(error)}.") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidOptionError(f"{path} is not YAML: {error}") from error
    server, api = (_section(path, values, name) for name in ("server", "httpApi"))

    def number(section: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
        value = section.get(name.rpartition(".")[2])
        return None if value in _NOT_SET else whole(least, most)(f"{name} in {path}", value)

    precision = server.get("precision")
    if precision in _NOT_SET:
        precision = None
    elif precision not in PRECISIONS:
        allowed = f"one of {', '.join(PRECISIONS)}"
        raise refused(f"server.precision in {path}", precision, allowed)
    found = TunedSettings(
        threads=number(server, "server.threads", *SETTING_RANGES["threads"]),
        streams=number(server, "server.streams", *SETTING_RANGES["streams"]),
        precision=precision,
        token_budget=number(api, "httpApi.tokenBudget", 1, MOST),
    )
    if found == TunedSettings():
        raise InvalidOptionError(
            f"{path} has none of server.threads, server.streams, server.precision and "
            "httpApi.tokenBudget: `bert-qa bench tune --write` writes such a file."
        )
    made_for = _MADE_FOR.search(text)
    return replace(found, made_for=made_for[1].strip() if made_for else None)


def _section(path: Path, values: Any, name: str) -> Mapping[str, Any]:
    if values is not None and not isinstance(values, dict):
        raise InvalidOptionError(f"{path} has no settings by name, as values for the chart are.")
    section = (values or {}).get(name)
    if section is not None and not isinstance(section, dict):
        raise InvalidOptionError(f"{name} in {path} has to hold settings by name.")
    for key in section or {}:
        if key not in _KNOWN[name]:
            near = get_close_matches(str(key), _KNOWN[name], 1)
            hint = f"did you mean {near[0]}?" if near else "remove it."
            raise InvalidOptionError(
                f"{name}.{key} in {path} is not a setting of the chart: {hint}"
            )
    return section or {}
