"""templates/training-claim.yaml."""

from __future__ import annotations

from tests.support.chart import render


def test_the_claim_that_is_made_outlives_the_release() -> None:
    claim = render("training").one("PersistentVolumeClaim")
    assert claim["metadata"]["name"] == "bert-qa-models"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert "storageClassName" not in claim["spec"], "the cluster's default"


def test_its_size_class_and_mode_may_be_given() -> None:
    training = {"size": "5Gi", "storageClassName": "nfs", "accessMode": "ReadWriteOnce"}
    claim = render("training", {"model": {"training": training}}).one("PersistentVolumeClaim")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "nfs",
        "resources": {"requests": {"storage": "5Gi"}},
    }


def test_a_claim_that_exists_is_used_instead() -> None:
    rendering = render("training", {"model": {"training": {"claimName": "shared"}}})
    assert not rendering.all("PersistentVolumeClaim")
    for owner in (rendering.one("Job"), rendering.one("Deployment")):
        volumes = owner["spec"]["template"]["spec"]["volumes"]
        assert {"name": "models", "persistentVolumeClaim": {"claimName": "shared"}} in volumes
