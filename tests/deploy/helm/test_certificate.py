"""templates/certificate.yaml: cert-manager makes the Secret."""

from __future__ import annotations

from tests.support.chart import render, server_pod


def test_the_certificate_names_every_service_and_further_names() -> None:
    values = {"tracks": {"candidate": {"version": 2, "weight": 0}}}
    rendering = render("tls", values)
    names = rendering.one("Certificate")["spec"]["dnsNames"]
    for service in rendering.all("Service"):
        for suffix in ("", ".ml", ".ml.svc", ".ml.svc.cluster.local"):
            assert f"{service['metadata']['name']}{suffix}" in names
    assert "qa.example.com" in names


def test_the_pods_mount_the_secret_that_the_certificate_fills() -> None:
    rendering = render("tls")
    certificate = rendering.one("Certificate")["spec"]
    assert certificate["issuerRef"] == {"name": "internal", "kind": "ClusterIssuer"}
    volumes = {one["name"]: one for one in server_pod(rendering)["volumes"]}
    assert volumes["server-certificate"]["secret"]["secretName"] == certificate["secretName"]


def test_there_is_no_certificate_for_a_secret_that_exists() -> None:
    assert not render("mutual-tls").all("Certificate")
