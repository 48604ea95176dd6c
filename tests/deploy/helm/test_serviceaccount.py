"""templates/serviceaccount.yaml."""

from __future__ import annotations

from tests.support.chart import pod_specs, render


def test_pods_run_under_an_account_of_their_own_without_a_token() -> None:
    rendering = render()
    assert rendering.one("ServiceAccount")["automountServiceAccountToken"] is False
    for pod in pod_specs(rendering).values():
        assert pod["serviceAccountName"] == "bert-qa"
        assert pod["automountServiceAccountToken"] is False


def test_an_account_that_exists_is_used_instead() -> None:
    rendering = render(values={"serviceAccount": {"name": "mine"}})
    assert not rendering.all("ServiceAccount")
    assert {pod["serviceAccountName"] for pod in pod_specs(rendering).values()} == {"mine"}


def test_the_account_may_carry_a_clouds_identity() -> None:
    values = {"serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "qa"}}}
    account = render(values=values).one("ServiceAccount")
    assert account["metadata"]["annotations"] == {"iam.gke.io/gcp-service-account": "qa"}
