"""Which kind each test is: by its own mark, or by its folder and the fixtures that it takes.

- `unit`: functions and objects of one room, in this process, with nothing served.
- `integration`: real parts together: a model that is compiled, a server, a store, helm, Envoy.
- `e2e`: the product as a user has it: a verb, a notebook, a whole build, a switch under load.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import PurePath

KINDS = ("unit", "integration", "e2e")

# The longest matching path decides; what matches none is a unit test.
FOLDERS = {
    "build": "integration",
    "cli/verbs": "e2e",
    "client/runtime": "integration",
    "client/test_docs.py": "integration",
    "client/transport": "integration",
    "client/transport/codecs": "unit",
    "deploy": "integration",
    "deploy/azureml/test_job.py": "e2e",
    "deploy/docker": "unit",
    "deploy/config_file/test_under_load.py": "e2e",
    "notebooks": "e2e",
    "serve": "integration",
    "tools": "integration",
}

# A test that takes one of these, directly or not, is at least of that kind.
FIXTURES = {
    "engine": "integration",
    "free_port": "integration",
    "local_server": "integration",
    "stores": "integration",
    "demo_build": "e2e",
    "release": "e2e",
}

# A test that takes one of these, directly or not, or is at one of these paths, is left to
# `make test-thorough`. Builds take long, and what they are made with takes seconds to import; each
# rollout on a cluster and each life of a release runs helm many times.
THOROUGH_FIXTURES = ("demo_build",)
THOROUGH_PATHS = (
    "build",
    "cli/verbs/test_bench_signals.py",
    "deploy/cluster/job",
    "deploy/cluster/test_access.py",
    "deploy/cluster/test_defaults.py",
    "deploy/cluster/test_ends.py",
    "deploy/cluster/test_kills.py",
    "deploy/cluster/test_status.py",
    "deploy/cluster/test_target.py",
    "deploy/cluster/test_waits.py",
    "deploy/config_file/test_every_effect.py",
    "deploy/helm/test_replicas.py",
    "deploy/helm/test_switch.py",
    "deploy/helm/test_switched.py",
    "deploy/helm/test_weights.py",
)


def kind_of(path: PurePath, fixtures: Iterable[str]) -> str:
    """Return the kind of a test that has no mark of its own.

    Args:
        path: The test's file, relative to `tests/`.
        fixtures: The names of all fixtures that it takes, directly or not.
    """
    return max(
        [_kind_of_folder(path), *(FIXTURES[name] for name in FIXTURES if name in fixtures)],
        key=rank,
    )


@functools.cache
def _kind_of_folder(path: PurePath) -> str:
    folders = [each for each in FOLDERS if path.is_relative_to(each)]
    return FOLDERS[max(folders, key=len)] if folders else "unit"


def is_thorough(path: PurePath, fixtures: Iterable[str]) -> bool:
    """Return whether a test is left to `make test-thorough` without a mark of its own.

    Args:
        path: The test's file, relative to `tests/`.
        fixtures: The names of all fixtures that it takes, directly or not.
    """
    is_there = any(path.is_relative_to(each) for each in THOROUGH_PATHS)
    return is_there or not set(THOROUGH_FIXTURES).isdisjoint(fixtures)


def rank(kind: str) -> int:
    """Return 0 for `unit`, 1 for `integration` and 2 for `e2e`."""
    return KINDS.index(kind)
