from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bertqa_deploy.smoke import Smoke
from tests.support.release import Release, release_of_its_own

# Toy models answer with whatever they find: the only word of a context is always right.
SMOKE = Smoke("When?", "1932", "1932")


@pytest.fixture
def release() -> Iterator[Release]:
    """A release in a namespace of its own, on the cluster to which KUBECONFIG leads."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster: set it to install, test, upgrade and uninstall")
    with release_of_its_own() as release:
        yield release
