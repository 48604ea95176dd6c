"""templates/backendtlspolicy.yaml: a Gateway that speaks TLS to the servers."""

from __future__ import annotations

from tests.support.chart import render


def test_the_gateway_trusts_the_servers_of_every_track() -> None:
    values = {"tracks": {"candidate": {"version": 2, "weight": 0}}}
    specification = render("gateway-tls", values).one("BackendTLSPolicy")["spec"]
    names = [target["name"] for target in specification["targetRefs"]]
    assert names == ["bert-qa-candidate", "bert-qa-stable"]
    assert specification["validation"]["caCertificateRefs"] == [
        {"group": "", "kind": "ConfigMap", "name": "internal-authority"}
    ]


def test_the_name_that_it_checks_is_on_the_chart_s_own_certificate() -> None:
    hostname = render("gateway-tls").one("BackendTLSPolicy")["spec"]["validation"]["hostname"]
    assert hostname in render("tls").one("Certificate")["spec"]["dnsNames"]


def test_there_is_no_policy_without_tls() -> None:
    assert not render("tracks").all("BackendTLSPolicy")
