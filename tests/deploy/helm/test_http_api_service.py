"""The Services, autoscaler, budget, route, policy and monitor of templates/http-api-*.yaml."""

from __future__ import annotations

from typing import Any

from tests.support.chart import Manifest, Rendering, refusal, render

NAME = "bert-qa-http-api"


def labels(rendering: Rendering) -> Any:
    template = rendering.one("Deployment", NAME)["spec"]["template"]
    return template["metadata"]["labels"].items()


def policy(values: dict[str, Any] | None = None) -> Manifest:
    found: Manifest = render("tracks", values).one("NetworkPolicy", NAME)["spec"]
    return found


def test_its_service_leads_to_its_pods_alone() -> None:
    rendering = render("tracks")
    service = rendering.one("Service", NAME)["spec"]
    assert service["selector"].items() <= labels(rendering)
    assert [(one["port"], one["targetPort"]) for one in service["ports"]] == [(8080, 8080)]
    for other in rendering.all("Service"):
        assert not other["spec"]["selector"].items() <= labels(rendering)
    given = {"type": "LoadBalancer", "annotations": {"a": "b"}}
    service = render(values={"httpApi": {"service": given}}).one("Service", NAME)
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"a": "b"}


def test_the_pods_of_each_track_have_addresses_of_their_own() -> None:
    rendering = render("tracks")
    for track in ("stable", "candidate"):
        service = rendering.one("Service", f"bert-qa-{track}-pods")
        deployment = rendering.one("Deployment", f"bert-qa-{track}")
        pods = deployment["spec"]["template"]["metadata"]["labels"].items()
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["selector"].items() <= pods
        assert {one["port"] for one in service["spec"]["ports"]} == {9000, 8000}


def test_its_autoscaler_holds_its_cpus() -> None:
    assert not render().all("HorizontalPodAutoscaler", of_http_api=True)
    scaling = {"enabled": True, "minReplicas": 3, "maxReplicas": 5, "targetCpuPercent": 60}
    rendering = render(values={"httpApi": {"autoscaling": scaling}})
    found = rendering.one("HorizontalPodAutoscaler", NAME)["spec"]
    assert found["scaleTargetRef"]["name"] == NAME
    assert (found["minReplicas"], found["maxReplicas"]) == (3, 5)
    resource = found["metrics"][0]["containerResource"]
    assert resource["container"] == "http-api"
    assert resource["target"] == {"type": "Utilization", "averageUtilization": 60}
    message = refusal({"httpApi": {"autoscaling": {"minReplicas": 9, "enabled": True}}})
    assert "httpApi.autoscaling.minReplicas (9) is above" in message


def test_a_drain_takes_one_pod_at_a_time() -> None:
    rendering = render()
    budget = rendering.one("PodDisruptionBudget", NAME)["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels(rendering)
    one = {"replicas": 1}
    assert not render(values={"httpApi": one}).all("PodDisruptionBudget", of_http_api=True)
    scaled = {"replicas": 1, "autoscaling": {"enabled": True}}
    assert render(values={"httpApi": scaled}).one("PodDisruptionBudget", NAME)


def test_its_route_has_what_users_ask_and_neither_health_nor_metrics() -> None:
    assert not render().all("HTTPRoute", of_http_api=True)
    rendering = render("tracks")
    route, servers = rendering.one("HTTPRoute", NAME)["spec"], rendering.one("HTTPRoute")["spec"]
    assert route["parentRefs"] == servers["parentRefs"]
    assert route["hostnames"] == servers["hostnames"]
    (rule,) = route["rules"]
    paths = {(each["path"]["type"], each["path"]["value"]) for each in rule["matches"]}
    assert paths == {
        ("Exact", "/"),
        ("Exact", "/docs"),
        ("Exact", "/openapi.json"),
        ("PathPrefix", "/models"),
        ("PathPrefix", "/v1"),
    }
    assert rule["backendRefs"] == [{"name": NAME, "port": 8080}]


def test_it_reaches_the_servers_and_names_and_nothing_else() -> None:
    egress = policy()["egress"]
    ports = {port["port"] for rule in egress for port in rule["ports"]}
    assert ports == {53, 5353, 9000, 8000}
    (to,) = [rule["to"][0]["podSelector"]["matchLabels"] for rule in egress if "to" in rule]
    assert to["app.kubernetes.io/component"] == "server"


def test_clients_monitoring_and_the_test_reach_it() -> None:
    rendering = render("tracks")
    (rule,) = policy()["ingress"]
    assert {port["port"] for port in rule["ports"]} == {8080}
    test = rendering.one("Pod")["metadata"]["labels"].items()
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= test
    names = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in rule["from"][1:]
    ]
    assert names == ["gateways", "monitoring"]
    (alone,) = policy({"networkPolicy": {"clients": [], "monitoring": []}})["ingress"]
    assert len(alone["from"]) == 1


def test_the_servers_let_it_in() -> None:
    rendering = render("tracks")
    clients = rendering.one("NetworkPolicy", "bert-qa-server")["spec"]["ingress"][0]
    selectors = [
        peer["podSelector"]["matchLabels"] for peer in clients["from"] if "podSelector" in peer
    ]
    assert any(selector.items() <= labels(rendering) for selector in selectors)


def test_prometheus_reads_its_metrics() -> None:
    rendering = render("monitoring")
    monitor = rendering.one("ServiceMonitor", NAME)["spec"]
    (endpoint,) = monitor["endpoints"]
    service = rendering.one("Service", NAME)
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {one["name"] for one in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"
