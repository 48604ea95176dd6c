"""One model's traffic and versions among many: the others are left as they are, in memory too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bertqa import QAClient
from bertqa.artifact import OvmsConfig, Repository, RepositoryWriter, specific_versions
from bertqa.transport import AdminClient, rest_address
from bertqa_deploy.config_file import ConfigTarget
from bertqa_deploy.rollout import Rollout
from bertqa_deploy.server import Server
from bertqa_serve.launcher import running
from bertqa_serve.options import ServeOptions
from bertqa_serve.ports import free_ports
from tests.deploy.conftest import SMOKE
from tests.support.http_api import CONTEXT, QUESTION
from tests.support.models import write_config, write_toy_version

MODELS = [f"customer-{number:02}" for number in range(12)]
_NAMED = re.compile(r"customer-\d\d(?!-)")
ONE, OTHERS = MODELS[5], [*MODELS[:5], *MODELS[6:]]


@dataclass(frozen=True)
class Many:
    """A server with versions 1 and 2 of each model, of which version 1 is served."""

    repository: Repository
    grpc_url: str
    rest_url: str
    log: list[str]

    def client(self, model: str) -> QAClient:
        """A client that follows the split of a model."""
        return QAClient(self.grpc_url, metadata_url=self.rest_url, model=model, traffic="auto")

    def entries(self) -> dict[str, dict[str, Any]]:
        """The configuration of each model by its name."""
        content = json.loads(self.repository.config_path.read_text(encoding="utf-8"))
        return {each["config"]["name"]: each["config"] for each in content["model_config_list"]}

    def states(self) -> dict[str, Any]:
        """The versions of each model and their states."""
        with AdminClient(rest_address(self.rest_url)) as admin:
            return dict(admin.models())

    def loaded_since(self, line: int) -> set[str]:
        """Which models the server's log names from a line on, but for the aids of a switch."""
        return {name for text in self.log[line:] for name in _NAMED.findall(text)}


@pytest.fixture(scope="module")
def many(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Many]:
    root: Path = tmp_path_factory.mktemp("many")
    for model in MODELS:
        for version in (1, 2):
            write_toy_version(root, version, model=model)
    write_config(root, *MODELS, policy=specific_versions([1]))
    port, rest_port = free_ports()
    options = ServeOptions(
        repository=root,
        engine=engine,
        model=MODELS[0],
        port=port,
        rest_port=rest_port,
        warm_up=False,
    )
    log: list[str] = []
    with running(options, log=log.append) as server:
        yield Many(Repository(root), server.grpc_url, server.rest_url, log)


def test_a_switch_of_one_model_leaves_the_others_and_reloads_none(many: Many) -> None:
    entries, states, line = many.entries(), many.states(), len(many.log)
    assert many.loaded_since(0) == set(MODELS)

    server = Server(many.grpc_url, many.rest_url)
    with ConfigTarget(many.repository, server, ONE, SMOKE, 0) as target:
        Rollout(target).move({2: 100.0})

    with many.client(ONE) as client:
        assert client.answer(QUESTION, CONTEXT).model_version == 2
        assert client.split() == {2: 100.0}
    for model in (OTHERS[0], OTHERS[-1]):
        with many.client(model) as client:
            assert client.answer(QUESTION, CONTEXT).model_version == 1
            assert client.split() is None
    after, now = many.entries(), many.states()
    assert {name: after[name] for name in OTHERS} == {name: entries[name] for name in OTHERS}
    assert {name: now[name] for name in OTHERS} == {name: states[name] for name in OTHERS}
    assert many.loaded_since(line) == {ONE}


def test_a_policy_of_one_model_leaves_the_others_and_reloads_none(many: Many) -> None:
    line, model = len(many.log), OTHERS[3]
    others = [each for each in MODELS if each != model]
    states = many.states()
    with RepositoryWriter(many.repository) as writer:
        config = OvmsConfig.read(many.repository.config_path)
        entry = {**config.entry(model), "model_version_policy": specific_versions([1, 2])}
        writer.replace_config(config, config.edited(entry).new_text)
    with AdminClient(rest_address(many.rest_url)) as admin:
        admin.reload()
    now = many.states()
    assert set(now[model]) == {1, 2}
    assert {name: now[name] for name in others} == {name: states[name] for name in others}
    assert many.loaded_since(line) == {model}
