"""templates/pdb.yaml: PodDisruptionBudgets."""

from __future__ import annotations

from tests.support.chart import render


def test_a_track_with_several_pods_loses_one_at_a_time() -> None:
    rendering = render("tracks")
    budget = rendering.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = rendering.one("Deployment", "bert-qa-stable")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_a_track_with_one_pod_has_no_budget_that_would_block_a_drain() -> None:
    assert not render("single-node").all("PodDisruptionBudget")


def test_an_autoscaled_track_has_one_by_its_fewest_pods() -> None:
    assert render("autoscaling", {"tracks": {"stable": {"replicas": 1}}}).one("PodDisruptionBudget")
    assert not render("autoscaling", {"autoscaling": {"minReplicas": 1}}).all("PodDisruptionBudget")
