"""An Azure ML endpoint as a target of rollouts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from azure.ai.ml import MLClient
from azure.ai.ml.entities import OnlineEndpoint

from bertqa import QAClient
from bertqa.artifact import Split, format_split
from bertqa_deploy.azureml.endpoints import (
    SUCCEEDED,
    get_endpoint,
    put_endpoint,
    require_ready,
    settled_endpoint,
    states,
    without_zeros,
)
from bertqa_deploy.azureml.memory import TAGS, Written
from bertqa_deploy.azureml.metrics import EndpointMetrics
from bertqa_deploy.azureml.scoring import Scoring
from bertqa_deploy.azureml.versions import deployment_name, to_traffic, version_of
from bertqa_deploy.azureml.workspace import text_of
from bertqa_deploy.errors import AzureError, SwitchedMeanwhileError
from bertqa_deploy.rollout import Counts, OnStep, Standing, State
from bertqa_deploy.smoke import Smoke

_POLL_SECONDS = 5.0


class EndpointTarget:
    """Implements `TrafficTarget` over a managed online endpoint.

    Deployments are neither created nor deleted. Azure has no conditional update of an endpoint: two
    rollouts at once are noticed by what is read before and after each update, by at least one of
    the two.

    Args:
        client: The workspace.
        endpoint: The endpoint's name.
        smoke: The question with a known answer, for an endpoint that exposes all of KServe v2.
        on_step: Called with a sentence for each step.
        poll_seconds: The pause between two looks at a change that is in progress.

    Attributes:
        name: The endpoint, as in "endpoint bert-qa".
    """

    def __init__(
        self,
        client: MLClient,
        endpoint: str,
        *,
        smoke: Smoke | None = None,
        on_step: OnStep = lambda _: None,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self.name = f"endpoint {endpoint}"
        self._client = client
        self._endpoint = endpoint
        self._smoke = smoke or Smoke()
        self._on_step = on_step
        self._poll_seconds = poll_seconds
        self._metrics: EndpointMetrics | None = None
        # An update that failed may have been made all the same: then two are possible.
        self._possible: list[Written] = []

    def current(self) -> State:
        """Return the state now; see `TrafficTarget`.

        Raises:
            SwitchUnfinishedError: An earlier change of the endpoint is still in progress.
            AzureError: There is no such endpoint, or its traffic or tags are not a split of
                versions; or Azure refuses or fails.
        """
        endpoint = self._settled()
        written = Written.found_in(endpoint)
        self._possible = [written]
        foreign = sorted(name for name in written.traffic if version_of(name) is None)
        if foreign:
            raise AzureError(
                f"{self._endpoint} sends traffic to {', '.join(foreign)}, which is not a version: "
                "nothing was changed. Move the traffic to versions first, as in `az ml "
                f"online-endpoint update --name {self._endpoint} --traffic "
                f'"{foreign[0]}=0 version-1=100"`.'
            )
        return State(written.split, self._served(), written.memory(self._endpoint))

    def standing(self) -> Standing:
        """Return where the endpoint's rollout stands, without a change and without a wait.

        Raises:
            AzureError: There is no such endpoint, or a tag is not a split; or Azure refuses or
                fails.
        """
        endpoint = get_endpoint(self._client, self._endpoint)
        written, remarks = Written.found_in(endpoint), list[str]()
        state = text_of(endpoint.provisioning_state)
        if state != SUCCEEDED:
            remarks.append(f"Azure reports that the endpoint is {state}.")
        foreign = {name: share for name, share in written.traffic.items() if not version_of(name)}
        if foreign:
            shares = ", ".join(f"{name} {share} %" for name, share in sorted(foreign.items()))
            remarks.append(f"Deployments that are not versions have traffic: {shares}.")
        memory = written.memory(self._endpoint)
        return Standing(self.name, written.split, memory, self._served(), remarks)

    def check(self, goal: Split) -> None:
        """Refuse a goal that the endpoint cannot reach; see `TrafficTarget`.

        Raises:
            InvalidOptionError: The goal is not in whole percents.
            AzureError: A version is not deployed or not ready; or Azure refuses or fails.
        """
        traffic = to_traffic(goal)
        get_endpoint(self._client, self._endpoint)
        require_ready(self._client, self._endpoint, traffic)

    def kept(self, state: State, goal: Split) -> frozenset[int]:
        """Return all versions that are served: deployments stay; see `TrafficTarget`."""
        return state.served | goal.keys()

    def prove(self, versions: frozenset[int]) -> None:
        """Ask the versions' deployments a question; see `TrafficTarget`.

        Where the endpoint exposes the route of inference alone, no text can be asked: then tokens
        without meaning are sent, and the numbers and the version in the answer are checked.

        Raises:
            DeployError: A version does not answer, or wrongly.
        """
        scoring = self._scoring()
        for version in sorted(versions):
            if scoring.is_whole:
                with scoring.client(version) as client:
                    answer = self._smoke.check(client, version)
                self._on_step(f"version {version} answers {answer!r}")
            else:
                scoring.run(version)
                self._on_step(f"version {version} answers")

    def client(self, version: int) -> AbstractContextManager[QAClient]:
        """Return an open client whose questions reach one version, with or without traffic.

        Args:
            version: The version's number; the questions have to name it.

        Raises:
            AzureError: The endpoint exposes the route of inference alone; or Azure refuses or
                fails.
        """
        return self._scoring().client(version)

    def apply(self, wanted: State) -> None:
        """Bring the endpoint to a state in one update, memory and split; see `TrafficTarget`.

        A version that gets traffic is no longer mirrored: Azure does one or the other. Azure splits
        by whole percents, so that the splits on the way are rounded.

        Raises:
            SwitchedMeanwhileError: Another process changed the traffic or its memory.
            SwitchUnfinishedError: An earlier change of the endpoint is still in progress.
            AzureError: Azure refuses or fails.
        """
        endpoint = self._settled()
        now = Written.found_in(endpoint)
        if self._possible and now not in self._possible:
            raise self._changed_meanwhile(now)
        new = Written.of(wanted.split, wanted.memory)
        if new == now:
            return
        others = {key: value for key, value in (endpoint.tags or {}).items() if key not in TAGS}
        endpoint.tags = {**others, **new.tags}
        endpoint.traffic = dict(new.traffic)
        endpoint.mirror_traffic = {
            name: percent
            for name, percent in without_zeros(endpoint.mirror_traffic).items()
            if name not in new.traffic
        }
        self._possible = [now, new]
        put_endpoint(self._client, endpoint, f"move the traffic of {self._endpoint}")
        self._possible = [new]
        found = Written.found_in(get_endpoint(self._client, self._endpoint))
        if found != new:
            raise self._changed_meanwhile(found)
        if new.traffic != now.traffic:
            self._on_step(f"the split is {format_split(new.split) or 'empty'}")

    def observe(self, version: int) -> Mapping[str, Counts]:
        """Return what Azure Monitor has counted for a version; see `EndpointMetrics.counts`."""
        if self._metrics is None:
            endpoint = get_endpoint(self._client, self._endpoint)
            self._metrics = EndpointMetrics(self._client, str(endpoint.id))
        deployment = deployment_name(version)
        return {deployment: self._metrics.counts(deployment)}

    def _settled(self) -> OnlineEndpoint:
        return settled_endpoint(
            self._client, self._endpoint, poll_seconds=self._poll_seconds, on_step=self._on_step
        )

    def _served(self) -> frozenset[int]:
        ready = (
            version_of(name)
            for name, state in states(self._client, self._endpoint).items()
            if state == SUCCEEDED
        )
        return frozenset(version for version in ready if version is not None)

    def _scoring(self) -> Scoring:
        return Scoring(self._client, get_endpoint(self._client, self._endpoint))

    def _changed_meanwhile(self, found: Written) -> SwitchedMeanwhileError:
        split = ", ".join(f"{name} {percent} %" for name, percent in sorted(found.traffic.items()))
        return SwitchedMeanwhileError(
            f"Another process changed the traffic of {self._endpoint} meanwhile; it was left as it "
            f"is ({split or 'no traffic'}). Run the same command again to move it from there, or "
            "with --back to undo what is under way."
        )
