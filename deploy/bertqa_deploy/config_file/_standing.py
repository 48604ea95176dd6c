"""Where a rollout on one server stands, read without a lock and without a change."""

from __future__ import annotations

from bertqa.artifact import MODEL_NAME, WHOLE, OvmsConfig, Repository, format_split
from bertqa.errors import BertQAError
from bertqa_deploy.config_file._memory import MemoryFile
from bertqa_deploy.config_file._split_model import SplitModel
from bertqa_deploy.errors import DeployError
from bertqa_deploy.rollout import Standing
from bertqa_deploy.server import Server


def standing_of(repository: Repository, server: Server, model: str = MODEL_NAME) -> Standing:
    """Return where a model's rollout stands. A server that does not answer is a remark.

    Args:
        repository: The repository that the server reads.
        server: The server.
        model: The model whose traffic is moved.

    Raises:
        RepositoryError: The repository or its `config.json` cannot be read.
        DeployError: What is remembered cannot be read, or no version is configured.
    """
    configured = _configured(repository, model)
    history = SplitModel(repository, model).history()
    served, remarks = configured, list[str]()
    try:
        served = server.available(model)
        reported = server.split(model) if history else None
    except BertQAError as error:
        found = None
        remarks.append(f"What is served is not known: {error}")
    else:
        found = served
        if reported is not None and reported != history[-1]:
            remarks.append(f"The server still reports the split {format_split(reported)}.")
    if not history and not (served or configured):
        raise DeployError(f"{repository.config_path} serves no version of {model}.")
    split = history[-1] if history else {max(served or configured): WHOLE}
    memory = MemoryFile(repository, model).read(history, split)
    return Standing(f"server {server.address}", split, memory, found, remarks)


def _configured(repository: Repository, model: str) -> set[int]:
    policy = OvmsConfig.read(repository.config_path).policy(model)
    return set(policy.choose(repository.versions(model)))
