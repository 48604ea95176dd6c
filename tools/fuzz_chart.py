"""Render the chart with values that its schema accepts, and check what comes out.

    python -m tools.fuzz_chart [--examples 2000] [--seed 0] [--cluster]

Hypothesis draws the values, the release's name, its namespace, the version of Kubernetes and the
version of Helm. Each rendering is refused by the chart with one sentence, or valid: for the schemas
of Kubernetes, for a real Envoy and for OVMS's own schema; with `--cluster` also for the API server
to which KUBECONFIG leads. Where it is not, the smallest such values are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterator

from hypothesis import HealthCheck, given, seed, settings

from tests.deploy.helm import real_api_server, rendered
from tests.support.any_values import Installation, installations


def run(examples: int, number: int, *, on_cluster: bool) -> Counter[str]:
    """Render the chart with drawn values.

    Args:
        examples: How often.
        number: The same number draws the same values.
        on_cluster: Whether the cluster's API server is asked too.

    Returns:
        How many were taken, and how many were refused with each sentence.
    """
    outcomes: Counter[str] = Counter()
    with _known_kinds(on_cluster) as known:
        drawn = installations()
        if on_cluster:
            drawn = installations(real_api_server.NAMESPACES, without=("service.ipFamilies",))

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(drawn)
        def check(installation: Installation) -> None:
            ended = installation.template()
            sentence = rendered.refused(ended)
            if sentence is not None:
                outcomes[re.sub(r"[0-9]+(\.[0-9]+)?", "N", sentence)[:70]] += 1
                return
            found = rendered.objects(ended.stdout)
            rendered.check(found, installation.kubernetes)
            if on_cluster:
                assert real_api_server.complaints(found, known) == ""
            outcomes["taken"] += 1

        check()
    return outcomes


@contextlib.contextmanager
def _known_kinds(on_cluster: bool) -> Iterator[set[str]]:
    if on_cluster:
        with real_api_server.namespaces():
            yield real_api_server.known_kinds()
    else:
        yield set()


def main() -> int:
    """Draw the values, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cluster", action="store_true")
    options = parser.parse_args()
    outcomes = run(options.examples, options.seed, on_cluster=options.cluster)
    for outcome, count in outcomes.most_common():
        print(f"{count:>6} {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
