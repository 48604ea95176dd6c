"""Rollouts of an endpoint: every end, every interruption, and a second operator."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient
from azure.core.exceptions import ServiceResponseError

from bertqa.artifact import Split
from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.endpoints import delete_deployment, mirror
from bertqa_deploy.azureml.memory import GOAL_TAG, GOOD_TAG, PREVIOUS_TAG
from bertqa_deploy.azureml.target import EndpointTarget
from bertqa_deploy.errors import (
    AzureError,
    NothingToDoError,
    RolledBackError,
    SwitchedMeanwhileError,
    SwitchUnfinishedError,
)
from bertqa_deploy.rollout import Memory, Moved, Plan, Rollout
from bertqa_deploy.smoke import Smoke
from tests.deploy.rollout.simulated import KilledError
from tests.support.azure import Azure
from tests.support.engines import toy_server

ENDPOINT = "onlineEndpoints/bert-qa"
IN_STEPS = Plan(steps=(10, 50, 100))
# The memory, 10 %, 50 %, 100 %, and the memory again.
EFFECTS = 5
PUT = "begin_create_or_update"


@dataclass
class Operator:
    """Moves the endpoint's traffic, each time as a new process."""

    client: MLClient
    azure: Azure
    steps: list[str] = field(default_factory=list)

    def target(self) -> EndpointTarget:
        return EndpointTarget(self.client, "bert-qa", on_step=self.note, poll_seconds=0)

    def note(self, step: str) -> None:
        """What is in progress is over once it is waited for."""
        self.steps.append(step)
        self.azure.properties(ENDPOINT)["provisioningState"] = "Succeeded"

    def move(self, goal: Split, plan: Plan = IN_STEPS) -> Moved:
        return Rollout(self.target(), plan).move(goal)

    def back(self) -> Moved:
        return Rollout(self.target()).back()

    def memory(self) -> Memory:
        return self.target().current().memory

    @property
    def traffic(self) -> dict[str, int]:
        found: dict[str, int] = self.azure.properties(ENDPOINT)["traffic"]
        return found

    @property
    def tags(self) -> dict[str, str]:
        found: dict[str, str] = self.azure.objects[ENDPOINT]["tags"]
        return found


@pytest.fixture
def operator(both: MLClient, azure: Azure) -> Operator:
    """Version 1 has all traffic, and version 2 is deployed."""
    operator = Operator(both, azure)
    operator.move({1: 100.0})
    operator.steps.clear()
    azure.changes.clear()
    return operator


def interrupted(
    operator: Operator, at: int, error: BaseException, *, sent: bool
) -> pytest.MonkeyPatch:
    """Let the update of that number raise, before or right after Azure begins with it."""
    operations = operator.client.online_endpoints
    original: Callable[..., Any] = getattr(operations, PUT)
    numbers = itertools.count()

    def put(endpoint: Any) -> Any:
        if next(numbers) != at:
            return original(endpoint)
        if sent:
            original(endpoint)
            operator.azure.properties(ENDPOINT)["provisioningState"] = "Updating"
        raise error

    patch = pytest.MonkeyPatch()
    patch.setattr(operations, PUT, put)
    return patch


def test_traffic_moves_in_steps_and_comes_back(operator: Operator) -> None:
    moved = operator.move({2: 100.0})

    assert (moved.target, moved.split, moved.previous) == (
        "endpoint bert-qa",
        {2: 100},
        {1: 100},
    )
    assert (moved.served, moved.retired) == ([1, 2], [])
    assert operator.steps == [
        "version 2 answers",
        "the split is 1=90,2=10",
        "the split is 1=50,2=50",
        "the split is 2=100",
    ]
    assert operator.azure.changes == [("PUT", ENDPOINT)] * EFFECTS
    assert operator.traffic == {"version-2": 100}
    assert operator.tags == {PREVIOUS_TAG: "1=100"}

    assert operator.back().split == {1: 100}
    with pytest.raises(NothingToDoError, match="1=100 is the last good split"):
        operator.back()


def test_the_first_switch_has_nothing_to_go_back_to(both: MLClient, azure: Azure) -> None:
    operator = Operator(both, azure)
    with pytest.raises(NothingToDoError, match="nothing to go back to"):
        operator.back()

    assert operator.move({1: 90.0, 2: 10.0}).previous is None
    assert operator.steps == ["version 1 answers", "version 2 answers", "the split is 1=90,2=10"]
    assert operator.tags == {}
    with pytest.raises(NothingToDoError, match="nothing to go back to"):
        operator.back()


def test_the_same_switch_again_changes_nothing(operator: Operator) -> None:
    with pytest.raises(NothingToDoError, match="split is 1=100 already: nothing was changed"):
        operator.move({1: 100.0})
    assert operator.azure.changes == []


def test_other_tags_and_settings_of_the_endpoint_stay(operator: Operator) -> None:
    operator.tags["team"] = "search"
    operator.azure.properties(ENDPOINT)["description"] = "Ours."
    operator.move({2: 100.0})
    assert operator.tags == {"team": "search", PREVIOUS_TAG: "1=100"}
    assert operator.azure.properties(ENDPOINT)["description"] == "Ours."


def test_traffic_that_was_moved_in_the_portal_is_where_the_next_rollout_begins(
    operator: Operator,
) -> None:
    operator.azure.properties(ENDPOINT)["traffic"] = {"version-1": 80, "version-2": 20}
    assert operator.move({2: 100.0}).previous == {1: 80, 2: 20}


def test_what_cannot_be_reached_is_refused_before_anything_is_done(operator: Operator) -> None:
    azure = operator.azure
    with pytest.raises(InvalidOptionError, match="by whole percents, but version 1 is to get 99"):
        operator.move({1: 99.5, 2: 0.5})
    with pytest.raises(AzureError, match=r"has no version-7 \(deployed: version-1, version-2\)"):
        operator.move({7: 100.0})
    azure.properties(f"{ENDPOINT}/deployments/version-2")["provisioningState"] = "Failed"
    with pytest.raises(AzureError, match="version-2 is Failed, not ready: nothing was changed"):
        operator.move({2: 100.0})
    with pytest.raises(AzureError, match="read the endpoint of-another, because it was not found"):
        Rollout(EndpointTarget(operator.client, "of-another")).move({1: 100.0})
    assert azure.changes == []


def test_traffic_or_tags_other_than_a_split_are_refused(operator: Operator) -> None:
    operator.azure.properties(ENDPOINT)["traffic"] = {"version-1": 50, "blue": 50}
    with pytest.raises(AzureError, match="traffic to blue, which is not a version: nothing was"):
        operator.move({2: 100.0})

    operator.azure.properties(ENDPOINT)["traffic"] = {"version-1": 100}
    operator.tags[PREVIOUS_TAG] = "two"
    with pytest.raises(AzureError, match=r"tag bert-qa-split-before of bert-qa is 'two', which"):
        operator.move({2: 100.0})
    assert operator.azure.changes == []


def test_requests_are_mirrored_until_the_version_gets_them_itself(operator: Operator) -> None:
    mirror(operator.client, "bert-qa", {"version-2": 20})
    interrupt = interrupted(operator, 1, KilledError(), sent=False)
    with pytest.raises(KilledError):
        operator.move({2: 100.0})
    interrupt.undo()
    assert operator.azure.properties(ENDPOINT)["mirrorTraffic"] == {"version-2": 20}

    operator.move({2: 100.0})
    assert operator.azure.properties(ENDPOINT)["mirrorTraffic"] == {}


OUTPUTS = [{"name": name, "data": [0.5] * 32} for name in ("start_logits", "end_logits")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "no"}, "version-2 sends what is not an answer of KServe v2"),
        ({"model_version": "1", "outputs": OUTPUTS}, "version-2 answers as version 1"),
        ({"model_version": "2", "outputs": OUTPUTS[:1]}, "version-2 does not answer with numbers"),
        (
            {"model_version": "2", "outputs": [{**each, "data": []} for each in OUTPUTS]},
            "version-2 does not answer with numbers",
        ),
    ],
)
def test_a_version_that_answers_wrongly_gets_no_traffic(
    operator: Operator, answer: dict[str, Any], reason: str
) -> None:
    operator.azure.answers["version-2"] = answer
    with pytest.raises(RolledBackError, match=f"returned to 1=100: {reason}"):
        operator.move({2: 100.0})
    assert (operator.traffic, operator.memory()) == ({"version-1": 100}, Memory({1: 100}))


def test_a_version_of_a_family_without_token_types_is_proven_too(operator: Operator) -> None:
    operator.azure.without_types.add("version-2")
    assert operator.move({2: 100.0}).split == {2: 100}


def test_the_question_is_repeated_where_the_connection_has_ended(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations = operator.client.online_endpoints
    original, has_ended = operations.invoke, iter([True])

    def invoke(*arguments: Any, **options: Any) -> Any:
        if next(has_ended, False):
            raise ServiceResponseError("The connection was aborted.")
        return original(*arguments, **options)

    monkeypatch.setattr(operations, "invoke", invoke)
    assert operator.move({2: 100.0}).split == {2: 100}


def test_an_endpoint_that_exposes_all_of_kserve_is_asked_a_question(
    engine: str, operator: Operator, tmp_path: Path
) -> None:
    """Toy models answer with whatever they find: the only word of a context is always right."""
    with toy_server(engine, tmp_path / "models", 1, 2) as server:
        operator.azure.scoring_uri = operator.azure.properties(ENDPOINT)["scoringUri"] = (
            f"{server.rest_url}/"
        )
        smoke = Smoke("When?", "1932", "1932")
        target = EndpointTarget(operator.client, "bert-qa", smoke=smoke, on_step=operator.note)
        assert Rollout(target).move({2: 100.0}).split == {2: 100}
        assert operator.steps[0] == "version 2 answers '1932'"
        with target.client(1) as client:
            assert client.answer("When?", "1932", version=1).model_version == 1


def test_texts_cannot_be_asked_over_the_route_of_inference_alone(operator: Operator) -> None:
    with pytest.raises(AzureError, match=r"exposes /scored/.*/infer alone, so that no text"):
        operator.target().client(1)


@pytest.mark.thorough
@pytest.mark.parametrize("sent", [False, True])
def test_a_rollout_that_was_killed_at_any_effect_is_resumed_or_undone(
    operator: Operator, sent: bool
) -> None:
    begin = copy.deepcopy(operator.azure.objects[ENDPOINT])
    for at in range(EFFECTS):
        for finish in ("the same command", "back"):
            operator.azure.objects[ENDPOINT] = copy.deepcopy(begin)
            interrupt = interrupted(operator, at, KilledError(), sent=sent)
            with pytest.raises(KilledError):
                operator.move({2: 100.0})
            interrupt.undo()
            is_begun, is_over = at > 0 or sent, at == EFFECTS - 1 and sent
            if finish == "back" and not is_begun:
                continue
            if is_over and finish != "back":
                with pytest.raises(NothingToDoError):
                    operator.move({2: 100.0})
            elif finish == "back":
                assert operator.back().split == {1: 100}
            else:
                assert operator.move({2: 100.0}).previous == {1: 100}
            to = 1 if finish == "back" else 2
            assert operator.traffic == {f"version-{to}": 100}
            assert operator.tags == ({} if to == 1 else {PREVIOUS_TAG: "1=100"})


@pytest.mark.thorough
def test_a_return_that_was_killed_at_any_effect_is_finished_by_either_command(
    operator: Operator,
) -> None:
    operator.move({2: 100.0})
    begin = copy.deepcopy(operator.azure.objects[ENDPOINT])
    for at, sent, finish in itertools.product(range(3), (False, True), ("back", "move")):
        operator.azure.objects[ENDPOINT] = copy.deepcopy(begin)
        interrupt = interrupted(operator, at, KilledError(), sent=sent)
        with pytest.raises(KilledError):
            operator.back()
        interrupt.undo()
        if (at, sent) == (2, True):
            assert operator.tags == {}
            continue
        moved = operator.back() if finish == "back" else operator.move({1: 100.0}, Plan())
        is_a_return = finish == "back" or at > 0 or sent
        assert (moved.split, moved.previous) == ({1: 100}, None if is_a_return else {2: 100})
        assert operator.tags == ({} if is_a_return else {PREVIOUS_TAG: "2=100"})


@pytest.mark.parametrize("sent", [False, True])
def test_a_rollout_whose_update_fails_returns(operator: Operator, sent: bool) -> None:
    begin = copy.deepcopy(operator.azure.objects[ENDPOINT])
    for at in range(EFFECTS - 1):
        operator.azure.objects[ENDPOINT] = copy.deepcopy(begin)
        lost = ServiceResponseError("The connection was lost.")
        interrupt = interrupted(operator, at, lost, sent=sent)
        # Where nothing was changed yet, there is nothing to return from.
        error = AzureError if at == 0 and not sent else RolledBackError
        with pytest.raises(error, match="Cannot connect to Azure"):
            operator.move({2: 100.0})
        interrupt.undo()
        assert (operator.traffic, operator.tags) == ({"version-1": 100}, {})


def test_a_rollout_whose_return_fails_says_how_to_return(
    operator: Operator,
) -> None:
    def refuse(step: str) -> None:
        if step == "the split is 1=90,2=10":
            operator.azure.refusals["PUT", ENDPOINT] = (400, "BadRequest", "Not now.")

    target = EndpointTarget(operator.client, "bert-qa", on_step=refuse)
    with pytest.raises(SwitchUnfinishedError, match="with --back to finish it"):
        Rollout(target, IN_STEPS).move({2: 100.0})
    assert operator.tags == {GOOD_TAG: "1=100", GOAL_TAG: "2=100"}
    operator.azure.properties(ENDPOINT)["traffic"] = {"version-2": 100}
    with pytest.raises(AzureError, match="from 1=100 to 2=100 is under way, which needs version-1"):
        delete_deployment(operator.client, "bert-qa", "version-1")

    operator.azure.refusals.clear()
    operator.back()
    assert (operator.traffic, operator.tags) == ({"version-1": 100}, {})


def test_what_another_operator_does_meanwhile_is_noticed_and_left_alone(
    operator: Operator,
) -> None:
    def interfere(step: str) -> None:
        if step == "the split is 1=90,2=10":
            operator.azure.properties(ENDPOINT)["traffic"] = {"version-1": 70, "version-2": 30}

    target = EndpointTarget(operator.client, "bert-qa", on_step=interfere)
    with pytest.raises(
        SwitchedMeanwhileError, match=r"left as it is \(version-1 70 %, version-2 30"
    ):
        Rollout(target, IN_STEPS).move({2: 100.0})
    assert operator.traffic == {"version-1": 70, "version-2": 30}

    assert operator.move({2: 100.0}).previous == {1: 100}, "the same command goes on from there"


def test_of_two_rollouts_at_once_the_first_is_stopped(operator: Operator) -> None:
    def begin_another(step: str) -> None:
        if step == "the split is 1=50,2=50":
            assert operator.back().split == {1: 100}

    target = EndpointTarget(operator.client, "bert-qa", on_step=begin_another)
    with pytest.raises(SwitchedMeanwhileError, match="Another process changed the traffic"):
        Rollout(target, IN_STEPS).move({2: 100.0})
    assert (operator.traffic, operator.memory()) == ({"version-1": 100}, Memory({1: 100}))


def test_an_update_beside_another_one_is_refused_in_azure_s_own_words(operator: Operator) -> None:
    refused = (409, "Conflict", "An update is in progress.")
    operator.azure.refusals["PUT", ENDPOINT] = refused
    with pytest.raises(AzureError, match="move the traffic of bert-qa: An update is in progress"):
        operator.move({2: 100.0})


def test_an_update_that_another_one_overwrites_is_noticed_at_once(operator: Operator) -> None:
    original = operator.client.online_endpoints.get
    is_over = iter([False, False, False, True])

    def get(name: str) -> Any:
        if next(is_over, False):
            operator.azure.objects[ENDPOINT]["tags"] = {GOOD_TAG: "1=100", GOAL_TAG: "1=50,2=50"}
        return original(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator.client.online_endpoints, "get", get)
        with pytest.raises(SwitchedMeanwhileError):
            operator.move({2: 100.0})
    assert operator.memory().goal == {1: 50, 2: 50}
