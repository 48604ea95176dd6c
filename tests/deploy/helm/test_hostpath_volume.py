"""templates/hostpath-volume.yaml: a directory of the node, through a claim."""

from __future__ import annotations

from tests.support.chart import render, server_pod


def test_the_pod_mounts_a_claim_that_is_bound_to_the_directory() -> None:
    rendering = render("single-node")
    volume = rendering.one("PersistentVolume")
    claim = rendering.one("PersistentVolumeClaim")
    assert volume["spec"]["hostPath"] == {"path": "/srv/models", "type": "Directory"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    name = volume["metadata"]["name"]
    assert volume["spec"]["claimRef"] == {"name": name, "namespace": "ml"}
    assert claim["metadata"]["name"] == claim["spec"]["volumeName"] == name
    mounted = next(one for one in server_pod(rendering)["volumes"] if one["name"] == "models")
    assert mounted["persistentVolumeClaim"] == {"claimName": name}


def test_another_directory_is_another_volume_since_its_path_cannot_be_changed() -> None:
    other = render("single-node", {"model": {"hostPath": {"path": "/srv/other"}}})
    before = render("single-node").one("PersistentVolume")["metadata"]["name"]
    assert other.one("PersistentVolume")["metadata"]["name"] != before


def test_no_pod_mounts_the_node_itself() -> None:
    assert all("hostPath" not in one for one in server_pod(render("single-node"))["volumes"])
