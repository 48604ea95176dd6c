"""templates/networkpolicy.yaml: nothing goes in or out but what is needed."""

from __future__ import annotations

from typing import Any

from tests.support.chart import Manifest, Rendering, render


def policy(rendering: Rendering, suffix: str = "") -> Manifest:
    specification: Manifest = rendering.one("NetworkPolicy", f"bert-qa{suffix}")["spec"]
    return specification


def ports(rule: Manifest) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def egress_ports(scenario: str, suffix: str, values: dict[str, Any] | None = None) -> set[int]:
    rules = policy(render(scenario, values), suffix).get("egress", [])
    return {port for rule in rules for port in ports(rule)}


def test_every_pod_of_the_release_is_cut_off_by_default() -> None:
    rendering = render("training")
    deny = policy(rendering)
    assert set(deny["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in deny
    assert "egress" not in deny
    chosen = deny["podSelector"]["matchLabels"].items()
    http_api = rendering.one("Deployment", "bert-qa-http-api")
    for owner in (*rendering.all("Deployment"), *rendering.all("Job"), http_api):
        assert chosen <= owner["spec"]["template"]["metadata"]["labels"].items()
    assert chosen <= rendering.one("Pod")["metadata"]["labels"].items()


def test_clients_reach_grpc_and_rest_and_monitoring_the_metrics() -> None:
    clients, monitoring = policy(render("tracks"), "-server")["ingress"]
    assert ports(clients) == {9000, 8000}
    assert {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}
    } in clients["from"]
    assert ports(monitoring) == {8081}


def test_no_rule_lets_everybody_in() -> None:
    values: dict[str, Any] = {"networkPolicy": {"clients": [], "monitoring": []}}
    rules = policy(render(values=values), "-server")["ingress"]
    assert all(rule["from"] for rule in rules)
    assert len(rules) == 1, "only the test and the HTTP API of the release itself may ask"
    assert all("podSelector" in peer for peer in rules[0]["from"])


def test_the_test_reaches_the_servers() -> None:
    rendering = render()
    clients, _ = policy(rendering, "-server")["ingress"]
    labels = rendering.one("Pod")["metadata"]["labels"].items()
    assert clients["from"][0]["podSelector"]["matchLabels"].items() <= labels
    assert policy(rendering, "-test")["podSelector"]["matchLabels"].items() <= labels
    assert egress_ports("pvc", "-test") == {53, 5353, 9000, 8000, 8080}
    without = {"httpApi": {"enabled": False}}
    assert egress_ports("pvc", "-test", without) == {53, 5353, 9000, 8000}


def test_a_server_with_a_mounted_model_calls_no_other() -> None:
    assert egress_ports("pvc", "-server") == set()


def test_a_server_reaches_its_object_store() -> None:
    assert egress_ports("gs", "-server") == {53, 5353, 443}
    assert egress_ports("s3", "-server") == {53, 5353, 443, 9000}


def test_an_endpoint_without_a_port_is_reached_on_that_of_its_scheme() -> None:
    values = {"model": {"storage": {"endpoint": "http://minio.storage"}}}
    assert egress_ports("s3", "-server", values) == {53, 5353, 443, 80}


def test_training_reaches_model_hubs() -> None:
    rendering = render("training")
    chosen = policy(rendering, "-training")["podSelector"]["matchLabels"].items()
    assert chosen <= rendering.one("Job")["spec"]["template"]["metadata"]["labels"].items()
    assert egress_ports("training", "-training") == {53, 5353, 443}


def test_pods_that_train_together_reach_each_other_alone() -> None:
    rendering = render("kubeflow")
    specification = policy(rendering, "-training")
    itself = {"podSelector": specification["podSelector"]}
    assert specification["ingress"] == [{"from": [itself]}]
    assert {"to": [itself]} in specification["egress"]
    assert specification["policyTypes"] == ["Ingress", "Egress"]
    labels = specification["podSelector"]["matchLabels"].items()
    (patch,) = rendering.one("TrainJob")["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert labels <= node["template"]["spec"]["template"]["metadata"]["labels"].items()
    alone = render("kubeflow", {"model": {"training": {"nodes": 1}}})
    assert "ingress" not in policy(alone, "-training")


def test_further_rules_are_added() -> None:
    values = {"networkPolicy": {"egress": [{"ports": [{"port": 988, "protocol": "TCP"}]}]}}
    assert egress_ports("gs", "-server", values) == {53, 5353, 443, 988}


def test_there_are_no_policies_where_they_are_switched_off() -> None:
    assert not render("single-node").all("NetworkPolicy")
