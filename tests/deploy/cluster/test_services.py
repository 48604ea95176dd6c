"""Waiting until Services and gateways lead where a release's weights say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bertqa_deploy.cluster.pods import Pod, Pods
from bertqa_deploy.cluster.services import Services
from bertqa_deploy.cluster.waiting import Waiting
from bertqa_deploy.errors import ClusterError
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import GATEWAY, Install

NO_TIME = Waiting(0)


def test_a_service_leads_once_its_ready_pods_are_those_of_its_track(
    install: Install, api: ApiServer
) -> None:
    release = install()
    services = Services(release.release, release.access)
    pods = Pods(release.release, release.access)

    services.wait_until_led(pods.present, NO_TIME)

    others = [Pod("another", "stable", "1", ready=True)]
    with pytest.raises(
        ClusterError, match="to lead to the track stable alone, not to bert-qa-stable-0"
    ):
        services.wait_until_led(lambda: others, NO_TIME)
    api.change(unready=["bert-qa-stable-0"])
    with pytest.raises(ClusterError, match="not to no pod"):
        services.wait_until_led(pods.present, NO_TIME)
    services.wait_until_led(pods.present, NO_TIME, to_ready=False)


def test_a_gateway_that_reports_what_it_has_taken_over_is_waited_for(
    install: Install, api: ApiServer
) -> None:
    release = install(*GATEWAY)
    services = Services(release.release, release.access)

    services.wait_until_routed(NO_TIME)

    api.report("httproutes", generation=0)
    late = "httproutes/bert-qa, httproutes/bert-qa-http-api"
    with pytest.raises(ClusterError, match=f"in vain for the gateway to take over {late}"):
        services.wait_until_routed(NO_TIME)
    api.report("httproutes", generation=1)
    services.wait_until_routed(NO_TIME)


def led(services: Services, pods: Pods) -> None:
    services.wait_until_led(pods.present, NO_TIME)


def routed(services: Services, _: Pods) -> None:
    services.wait_until_routed(NO_TIME)


@pytest.mark.parametrize(
    ("kind", "wait"), [("services", led), ("endpointslices", led), ("httproutes", routed)]
)
def test_what_may_not_be_read_is_named(
    install: Install, api: ApiServer, kind: str, wait: Callable[[Services, Pods], None]
) -> None:
    release = install(*GATEWAY)
    services = Services(release.release, release.access)
    pods = Pods(release.release, release.access)
    api.forbidden.add(kind)
    with pytest.raises(ClusterError, match=f"(?i)You may not look at {kind}"):
        wait(services, pods)
