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


def test_an_autoscaled_track_has_one_by_its_most_pods() -> None:
    assert render("autoscaling", {"tracks": {"stable": {"replicas": 1}}}).one("PodDisruptionBudget")
    assert render("autoscaling", {"autoscaling": {"minReplicas": 1}}).one("PodDisruptionBudget")
    one = {"minReplicas": 1, "maxReplicas": 1}
    values = {"autoscaling": one, "tracks": {"stable": {"replicas": 1}}}
    assert not render("autoscaling", values).all("PodDisruptionBudget")


def test_a_track_without_weight_has_one_where_the_autoscaler_left_it_many_pods() -> None:
    tracks = {"stable": {"weight": 0, "replicas": 1}, "v2": {"version": 2, "weight": 100}}
    budgets = render("autoscaling", {"tracks": tracks}).all("PodDisruptionBudget")
    assert [one["metadata"]["name"] for one in budgets] == ["bert-qa-stable", "bert-qa-v2"]
