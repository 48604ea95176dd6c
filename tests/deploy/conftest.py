from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from bertqa_deploy.smoke import Smoke
from tests.support.release import Release, run
from tools.programs import kubectl

# Toy models answer with whatever they find: the only word of a context is always right.
SMOKE = Smoke("When?", "1932", "1932")


@pytest.fixture
def release() -> Iterator[Release]:
    """A release in a namespace of its own, on the cluster to which KUBECONFIG leads."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster: set it to install, test, upgrade and uninstall")
    namespace = f"bert-qa-test-{uuid.uuid4().hex[:8]}"
    run(kubectl(), "create", "namespace", namespace)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    run(kubectl(), "label", "namespace", namespace, restricted)
    try:
        yield Release(namespace)
    finally:
        run(kubectl(), "delete", "namespace", namespace, "--wait=false")
