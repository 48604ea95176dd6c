"""templates/httproute.yaml: REST through a Gateway. Its rules are tested in test_routes.py."""

from __future__ import annotations

from tests.support.chart import render


def test_it_attaches_to_its_gateway_under_its_host_name() -> None:
    specification = render("tracks").one("HTTPRoute")["spec"]
    assert specification["parentRefs"] == [{"name": "public", "namespace": "gateways"}]
    assert specification["hostnames"] == ["qa.example.com"]


def test_it_may_attach_to_a_listener_of_its_own_under_any_name() -> None:
    specification = render("gateway-tls").one("HTTPRoute")["spec"]
    assert specification["parentRefs"] == [{"name": "public", "sectionName": "rest"}]
    assert "hostnames" not in specification
