from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository, usable_topology
from bertqa.errors import RepositoryError
from bertqa.load import Candidate, LoadTest, Shape
from bertqa.transport import AdminClient, rest_address
from bertqa_serve.command import EngineKind
from bertqa_serve.laboratory import (
    ServerLaboratory,
    candidate_of,
    engine_that_is_tuned,
    properties_of,
    server_beside,
)
from tests.support.models import write_published_version

PAIRS = [("When was it opened?", "The bridge was opened in 1932.")]
ONE = Candidate(version=1, threads=1, streams=1, precision="f32")


def laboratory(repository: Path, seen: list[str]) -> ServerLaboratory:
    def note(progress: Progress) -> None:
        if progress.stage not in seen:
            seen.append(progress.stage)

    test = LoadTest(PAIRS, seconds=0.2, warm_up=0.0, processes=1)
    return ServerLaboratory(repository, engine_that_is_tuned("local"), test, on_progress=note)


def test_each_candidate_is_served_with_its_settings_beside_the_repository(
    repository: Path,
) -> None:
    files = sorted(repository.rglob("*"))
    seen: list[str] = []
    two = replace(ONE, version=2, threads=2, streams=2, precision="f32")
    with laboratory(repository, seen)([ONE, two]) as systems:
        for candidate, system in zip((ONE, two), systems, strict=True):
            assert system.stage(Shape(at_once=2)).answered
            rest = rest_address(str(system.target.arguments["metadata_url"]))
            with AdminClient(rest, timeout=60) as admin:
                assert admin.streams("bert-qa") == {candidate.version: candidate.streams}
    assert sorted(repository.rglob("*")) == files
    assert [each for each in seen if each.startswith("Starting")] == [
        f"Starting {ONE}",
        f"Starting {two}",
    ]


def test_clients_that_differ_alone_share_a_server(repository: Path) -> None:
    seen: list[str] = []
    other = replace(ONE, token_budget=4096)
    with laboratory(repository, seen)([ONE, other]) as systems:
        urls = {each.target.address for each in systems}
        budgets = [each.target.arguments["token_budget"] for each in systems]
    assert len(urls) == 1
    assert budgets == [2048, 4096]
    assert sum(each.startswith("Starting") for each in seen) == 1


def test_a_version_that_is_not_there_is_named(repository: Path) -> None:
    with (
        pytest.raises(RepositoryError, match="has no version 9"),
        laboratory(repository, [])([replace(ONE, version=9)]),
    ):
        pass


def test_a_container_is_not_what_is_tuned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 0\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("OVMS_BINARY", raising=False)
    assert engine_that_is_tuned().kind is EngineKind.LOCAL


def test_settings_of_the_repository_hold_for_the_version_alone(tmp_path: Path) -> None:
    write_published_version(tmp_path, 3)
    entry = {"name": "bert-qa", "base_path": "bert-qa", "plugin_config": {"NUM_STREAMS": 1}}
    text = json.dumps({"model_config_list": [{"config": entry}]})
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    repository = Repository(tmp_path)

    with server_beside(
        repository.root, EngineKind.LOCAL, [3], properties=properties_of(repository)
    ) as server:
        config = Path(_config_of(server.process.args))
        served = json.loads(config.read_text(encoding="utf-8"))["model_config_list"][0]["config"]

    assert properties_of(repository, "bert-qa")["NUM_STREAMS"] == "1"
    assert served["plugin_config"]["NUM_STREAMS"] == "1"
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("properties", "present"),
    [
        ({"NUM_STREAMS": 3, "INFERENCE_NUM_THREADS": "3"}, {"threads": 3, "streams": 3}),
        ({"INFERENCE_PRECISION_HINT": "f16", "NUM_STREAMS": "AUTO"}, {"precision": "f16"}),
        ({"INFERENCE_PRECISION_HINT": "undefined", "CACHE_DIR": "/tmp"}, {}),
        (None, {}),
    ],
)
def test_the_settings_of_a_repository_are_a_candidate(
    tmp_path: Path, properties: dict[str, object] | None, present: dict[str, Any]
) -> None:
    if properties is not None:
        entry = {"name": "bert-qa", "base_path": "bert-qa", "plugin_config": properties}
        text = json.dumps({"model_config_list": [{"config": entry}]})
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    default = Candidate.default(1, usable_topology())
    assert candidate_of(Repository(tmp_path), default) == replace(default, **present)


def _config_of(arguments: object) -> str:
    words = [str(each) for each in arguments]  # type: ignore[attr-defined]
    return words[words.index("--config_path") + 1]
