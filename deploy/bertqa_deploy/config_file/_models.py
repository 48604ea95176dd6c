"""What a server serves by its `config.json`: a model's versions, and those that are on trial."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from bertqa import QAClient, _defaults
from bertqa.artifact import (
    OvmsConfig,
    Repository,
    RepositoryWriter,
    specific_versions,
    trial_model_name,
)
from bertqa.errors import (
    BertQAError,
    ConfigChangedError,
    ConfigError,
    ModelNotFoundError,
    ModelNotReadyError,
    RepositoryError,
    VersionNotFoundError,
)
from bertqa.transport import NO_ANSWER
from bertqa_deploy.config_file._split_model import SplitModel
from bertqa_deploy.errors import DeployError, SwitchUnfinishedError
from bertqa_deploy.rollout import OnStep
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.waiting import LOADING, States, available, difference, last_requests, named

# What a server answers that has just started and loads its models still.
_NOT_THERE = (ModelNotFoundError, ModelNotReadyError, VersionNotFoundError)

Versions = frozenset[int]
Writing = Callable[[], AbstractContextManager[RepositoryWriter]]


class Models:
    """The models of one server that a rollout is about.

    Args:
        repository: The repository that the server reads.
        server: The server.
        model: The model's name.
        smoke: What a version has to answer.
        writing: Returns the right to write to the repository, for one effect.
        on_step: Is called with a sentence for each step.

    Attributes:
        trial: The name under which no client asks.
        splits: The splits that were published.
        served: The versions that are served under the model's own name.
    """

    def __init__(
        self,
        repository: Repository,
        server: Server,
        model: str,
        smoke: Smoke,
        writing: Writing,
        on_step: OnStep,
    ) -> None:
        self.trial = trial_model_name(model)
        self.splits = SplitModel(repository, model)
        self.served: Versions = frozenset()
        self._repository = repository
        self._server = server
        self._model = model
        self._smoke = smoke
        self._writing = writing
        self._on_step = on_step
        self._found: OvmsConfig | None = None

    def read(self) -> None:
        """Read `config.json`, and wait until the server has done what it says.

        Raises:
            ConfigError: It cannot be read, or does not have the model.
            RepositoryError: The model has no base_path.
            BertQAError: What `Server.settled` raises.
        """
        config = OvmsConfig.read(self._repository.config_path)
        if "base_path" not in config.entry(self._model):
            raise RepositoryError(f"{config.path} has no base_path for {self._model}.")
        configured = config.policy(self._model).choose(self._repository.versions(self._model))
        self._found = self._found or config
        self._config = config
        settled = self._server.settled(self._model, set(configured), self._on_step)
        self.served = frozenset(settled)

    def is_settled(self) -> bool:
        """Return whether `config.json` names what is served, the split, and no trial."""
        return self._edited(self._config, self.served, frozenset()) == self._config

    def put_on_trial(self, versions: Versions) -> None:
        """Serve versions under a name that no client uses, and no others there.

        Args:
            versions: The versions; the trial ends where there are none.

        Raises:
            ConfigChangedError: Another program changed `config.json`.
            DeployError: One does not load, or not in time.
        """
        if versions:
            policy = specific_versions(versions)

            def edit(config: OvmsConfig) -> OvmsConfig:
                entry = config.entry(self._model)
                return config.edited({**entry, "name": self.trial, "model_version_policy": policy})
        else:
            edit = self._without_trial
        if self._edit(edit) and versions:
            self._on_step(f"{named(set(versions))} on trial, as {self.trial}: no client asks there")
        self._wait_for(
            lambda states: self._missing(states, self.trial, versions),
            DeployError if versions else SwitchUnfinishedError,
        )

    def serve(self, versions: Versions, *, trial: Versions, check: Versions = frozenset()) -> None:
        """Serve versions and no others, and the report of the split beside them.

        Args:
            versions: The versions.
            trial: Those that stay on trial, or are put there.
            check: Those that have to answer here, too.

        Raises:
            ConfigChangedError: Another program changed `config.json`.
            DeployError: One of those to check does not load, or does not answer in time or right.
            SwitchUnfinishedError: The server is not done in time.
        """
        if self._edit(lambda config: self._edited(config, versions, trial)):
            self._on_step(f"{named(set(versions))} served")

        def look(states: States) -> str | None:
            return self._missing(states, self._model, versions) or (
                self._missing(states, self.trial, trial)
            )

        self._wait_for(look, DeployError if check else SwitchUnfinishedError)
        self.served = versions
        if check:
            self.ask(check, warm_up=True)

    def ask(self, versions: Versions, *, warm_up: bool = False) -> None:
        """Ask versions the smoke question, where they are served.

        Args:
            versions: Their numbers.
            warm_up: Whether to run them at every length then: those who follow the split do not
                wait for kernels of a length that is new.

        Raises:
            DeployError: One does not answer in time, or wrongly.
        """
        for model in (self._model, self.trial):
            here = frozenset(v for v in versions if self.model_of(v) == model)
            if here:
                with self._server.client(model) as client:
                    self._ask(client, model, here, warm_up=warm_up)

    def model_of(self, version: int) -> str:
        """Return the name under which a version is served.

        Args:
            version: Its number.
        """
        return self._model if version in self.served else self.trial

    def end_trial(self) -> None:
        """Take the trial out of `config.json`, and do not wait for the server.

        Raises:
            RepositoryError: The file cannot be written, or another program changed it.
        """
        self._edit(self._without_trial)

    def wait_for_split(self, split: dict[int, float], wanted: str) -> None:
        """Wait until the server reports a split.

        Args:
            split: Percents by version.
            wanted: The same in words.

        Raises:
            SwitchUnfinishedError: It does not in time.
        """
        missing = f"the server to report the split {wanted}"
        self._wait_for(
            lambda _: None if self._server.split(self._model) == split else missing,
            SwitchUnfinishedError,
        )

    def _ask(self, client: QAClient, model: str, versions: Versions, *, warm_up: bool) -> None:
        answers: dict[int, str] = {}
        refusals = 0

        def look(states: States) -> str | None:
            nonlocal refusals
            loading = versions - available(states, model)
            if loading:
                return f"{named(set(loading))} of {model} to load"
            version = min(versions)
            try:
                for version in sorted(versions - answers.keys()):
                    answers[version] = self._smoke.check(client, version)
                    self._on_step(f"version {version} of {model} answers {answers[version]!r}")
                if warm_up:
                    self._server.warm_up(model, versions)
            except (*NO_ANSWER, DeployError):
                raise
            except BertQAError as error:
                refusals += 1
                if isinstance(error, _NOT_THERE) and refusals < _defaults.ATTEMPTS:
                    return f"version {version} of {model} to answer"
                raise DeployError(
                    f"Version {version} does not answer: {error}", detail=error.detail
                ) from error
            return None

        self._wait_for(look, DeployError)

    def _edited(self, config: OvmsConfig, versions: Versions, trial: Versions) -> OvmsConfig:
        entry = config.entry(self._model)
        main = {**entry, "model_version_policy": specific_versions(versions)}
        edited = config.edited(main, self.splits.entry(main), remove=self.trial)
        if not trial:
            return edited
        policy = specific_versions(trial)
        return edited.edited({**entry, "name": self.trial, "model_version_policy": policy})

    def _without_trial(self, config: OvmsConfig) -> OvmsConfig:
        return config.edited(remove=self.trial)

    def _edit(self, edit: Callable[[OvmsConfig], OvmsConfig]) -> bool:
        """Change `config.json`; return False where it says so already.

        Where it says again what it said at first, it has the same text again.
        """
        if edit(self._config) == self._config:
            return False
        with self._writing() as writer:
            self._heed_others()
            edited = edit(self._config)
            text = edited.new_text
            if self._found is not None and self._found.text and self._found.new_text == text:
                text = self._found.text
            try:
                self._config = writer.replace_config(self._config, text)
            except ConfigChangedError:
                raise
            except RepositoryError:  # It may have been written, and not have reached the disk.
                with contextlib.suppress(ConfigError):
                    found = OvmsConfig.read(self._config.path)
                    self._config = found if found.text == text else self._config
                raise
        return True

    def _heed_others(self) -> None:
        """Keep what a server that was started meanwhile completed in `config.json`.

        Raises:
            ConfigChangedError: Another program changed more than that.
        """
        with contextlib.suppress(ConfigError):
            found = OvmsConfig.read(self._config.path)
            if found.is_refitted(self._config):
                self._config = found
        self._config.require_unchanged()

    def _missing(self, states: States, model: str, versions: Versions) -> str | None:
        """Return which versions of a model are yet to load or to retire; None if there are none."""
        found = states.get(model, {})
        for version in sorted(versions & found.keys()):
            if found[version].state in LOADING and found[version].error:
                raise DeployError(
                    f"Version {version} does not load (the server reports "
                    f"{found[version].error}; its log has the reason)."
                )
        return difference(available(states, model), set(versions), model) or (
            last_requests({model: found})
        )

    def _wait_for(self, look: Callable[[States], str | None], error: type[DeployError]) -> None:
        def heeding(states: States) -> str | None:
            missing = look(states)
            if missing is not None:
                self._heed_others()
            return missing

        missing = self._server.wait_for(heeding, self._on_step)
        if missing is None:
            return
        resume = " Run the same command again to resume."
        raise error(
            f"After {self._server.patience:g} s {self._server.address} still waits for {missing}: "
            f"is {self._config.path} the file that it reads? A version is retired when its "
            "requests have ended, also those whose callers gave up."
            f"{resume if error is SwitchUnfinishedError else ''}"
        )
