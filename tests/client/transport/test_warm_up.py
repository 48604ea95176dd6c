"""Running a served model at every length, on every stream."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.errors import BertQAError, VersionNotFoundError
from bertqa.transport import AdminClient, rest_address, warm_up
from bertqa.transport._warm_up import lengths
from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.metrics import Metrics
from tests.support.models import model_info, write_toy_version

STREAMS = {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": "2"}


def serving(root: Path, **settings: object) -> LocalServer:
    entry = {"name": "bert-qa", "base_path": str(root / "bert-qa"), **settings}
    entry["model_version_policy"] = {"all": {}}
    config = root / "config.json"
    config.write_text(json.dumps({"model_config_list": [{"config": entry}]}))
    return LocalServer(config, poll_seconds=0, metrics=Metrics(enabled=True))


def admin_of(server: LocalServer) -> AdminClient:
    return AdminClient(rest_address(f"http://127.0.0.1:{server.rest_port}"), timeout=60)


def answered(admin: AdminClient) -> dict[str, float]:
    """The infer requests that were answered, by the version."""
    return {
        sample.labels["version"]: sample.value
        for sample in admin.metrics()
        if sample.name.startswith("ovms_requests_success")
        and sample.labels["method"] == "ModelInfer"
        and sample.labels["interface"] == "REST"
    }


def test_every_multiple_of_32_is_run_and_the_longest_input() -> None:
    assert lengths(128) == [32, 64, 96, 128]
    assert lengths(80) == [32, 64, 80]


def test_each_version_is_run_up_to_its_own_length_on_all_its_streams(tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1, info=model_info(max_seq_len=64))
    write_toy_version(tmp_path, 2, info=model_info(max_seq_len=160))
    seen: list[Progress] = []
    with serving(tmp_path, plugin_config=STREAMS) as server, admin_of(server) as admin:
        assert admin.streams("bert-qa") == {1: 2, 2: 2}
        assert warm_up(admin, "bert-qa", on_progress=seen.append) == 2 * (2 + 5)
        assert answered(admin) == {"1": 4, "2": 10}
    assert [each.done for each in seen] == [2, 4, 6, 8, 10, 12, 14]
    assert {each.total for each in seen} == {14}
    assert {each.stage for each in seen} == {"Warming up bert-qa"}


def test_only_chosen_versions_are_run(tmp_path: Path) -> None:
    for version in (1, 2):
        write_toy_version(tmp_path, version, info=model_info(max_seq_len=64))
    with serving(tmp_path) as server, admin_of(server) as admin:
        warm_up(admin, "bert-qa", [2])
        counted = answered(admin)
    assert counted["1"] == 0
    assert counted["2"] > 0


@pytest.mark.parametrize("settings", [{}, {"batch_size": "1"}])
def test_a_version_that_cannot_be_warmed_up_is_left_alone(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    write_toy_version(tmp_path, 1, describe=bool(settings))
    seen: list[Progress] = []
    with serving(tmp_path, **settings) as server, admin_of(server) as admin:
        assert warm_up(admin, "bert-qa", on_progress=seen.append) == 0
    assert ["version 1 does not describe its input lengths" in each.note for each in seen] == [True]


def test_a_version_that_is_retired_meanwhile_is_left_out_unless_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa.transport._warm_up._SEARCH_SECONDS", 0.1)
    for version in (1, 2, 3):
        write_toy_version(tmp_path, version, info=model_info(max_seq_len=64))
    seen: list[Progress] = []
    with serving(tmp_path) as server, admin_of(server) as admin:

        def retire(progress: Progress) -> None:
            seen.append(progress)
            shutil.rmtree(tmp_path / "bert-qa" / "1", ignore_errors=True)
            shutil.rmtree(tmp_path / "bert-qa" / "2", ignore_errors=True)
            admin.reload()

        assert warm_up(admin, "bert-qa", on_progress=retire) == 1 + 2
        with pytest.raises(VersionNotFoundError):
            warm_up(admin, "bert-qa", [2, 3])
    assert [each.note for each in seen] == [
        "version 1, 32 tokens",
        "version 1 is not served any more",
        "version 2 is not served any more",
        "version 3, 32 tokens",
        "version 3, 64 tokens",
    ]
    assert (seen[-1].done, seen[-1].total) == (3, 3)


def test_a_server_that_goes_away_ends_the_warm_up(tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1, info=model_info(max_seq_len=128))
    with serving(tmp_path) as server, admin_of(server) as admin:

        def stop(_: Progress) -> None:
            server.stop()

        with pytest.raises(BertQAError):
            warm_up(admin, "bert-qa", on_progress=stop)
