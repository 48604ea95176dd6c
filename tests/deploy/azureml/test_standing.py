"""Where the rollout of an endpoint stands, read without a change and without a wait."""

from __future__ import annotations

from azure.ai.ml import MLClient

from bertqa_deploy.azureml.memory import GOAL_TAG, GOOD_TAG, HELD_TAG, Written
from bertqa_deploy.azureml.target import EndpointTarget
from bertqa_deploy.rollout import Memory, Phase
from tests.support.azure import Azure

ENDPOINT = "onlineEndpoints/bert-qa"


def test_it_is_read_from_tags_and_traffic(both: MLClient, azure: Azure) -> None:
    tags = {GOOD_TAG: "1=100", GOAL_TAG: "2=100", HELD_TAG: "Version 2 got 0 requests."}
    azure.objects[ENDPOINT]["tags"] = tags
    azure.properties(ENDPOINT).update(
        traffic={"version-1": 85, "version-2": 10, "blue": 5}, provisioningState="Updating"
    )
    azure.changes.clear()

    found = EndpointTarget(both, "bert-qa").standing()

    assert (found.phase, found.split) == (Phase.HELD, {1: 85, 2: 10})
    assert (found.memory.goal, found.previous) == ({2: 100}, {1: 100})
    assert (found.memory.held, found.served) == ("Version 2 got 0 requests.", {1, 2})
    assert found.warnings == [
        "Azure reports that the endpoint is Updating.",
        "Deployments that are not versions have traffic: blue 5 %.",
    ]
    assert not azure.changes


def test_a_reason_fits_the_value_of_a_tag() -> None:
    memory = Memory({1: 100.0}, {2: 100.0}, held="It was too slow. " * 30)
    tag = Written.of({1: 100.0}, memory).tags[HELD_TAG]
    assert len(tag) <= 256
    assert tag.endswith(" ...")
