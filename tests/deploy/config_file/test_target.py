from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertqa import QAClient, _defaults
from bertqa.artifact import (
    WORK_FOLDER,
    RepositoryWriter,
    VersionManifest,
    sha256_of,
    sign_version,
)
from bertqa.errors import (
    BertQAError,
    ConfigChangedError,
    DeadlineExceededError,
    QualityGateError,
    RepositoryBusyError,
    RepositoryError,
    ServerUnreachableError,
    SignatureError,
)
from bertqa_deploy.errors import NothingToDoError, RolledBackError
from bertqa_deploy.server import Server
from tests.deploy.config_file.conftest import ONLY_1, POLL_SECONDS, Operated, operate
from tests.deploy.conftest import SMOKE
from tests.serve.engine.test_hardening import eventually
from tests.support.engines import toy_server
from tests.support.files import unwritable
from tests.support.keys import write_keys
from tests.support.ports import free_port

Serve = Callable[..., Operated]
TO_2 = {2: 100.0}


def config(served: Operated) -> str:
    return served.repository.config_path.read_text(encoding="utf-8")


def policies(served: Operated) -> dict[str, object]:
    entries = [each["config"] for each in json.loads(config(served))["model_config_list"]]
    return {entry["name"]: entry["model_version_policy"] for entry in entries}


def write_manifest(served: Operated, version: int, **changes: object) -> None:
    directory = served.repository.version_dir(version)
    digests = {name: sha256_of(directory / name) for name in ("model.xml", "model.bin")}
    manifest = VersionManifest(
        "bert-qa", version, "int8", "openvino", "tests", "2026-01-01", digests
    )
    changed = replace(manifest, **changes)  # type: ignore[arg-type]
    (directory / "manifest.json").write_text(changed.to_json(), encoding="utf-8")


def refused(served: Operated, error: type[BertQAError], match: str, **options: Any) -> None:
    """A switch to 2 is refused, and neither the configuration nor what is served changes."""
    before, split = config(served), served.server.split("bert-qa")
    available = served.server.available("bert-qa")
    with pytest.raises(error, match=match):
        served.having(**options).move(TO_2)
    assert config(served) == before
    assert served.server.available("bert-qa") == available
    assert served.server.split("bert-qa") == split


def test_a_switch_serves_publishes_and_retires(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)

    switched = served.having(retire=True).move(TO_2)

    assert (switched.default, switched.served, switched.retired) == (2, [2], [1])
    assert policies(served) == {
        "bert-qa": {"specific": {"versions": [2]}},
        "bert-qa-traffic": {"latest": {"num_versions": 1}},
    }
    assert served.server.split("bert-qa") == TO_2
    assert (served.repository.root / "bert-qa.split").read_text() == "2=100\n"
    assert served.steps[0].startswith("version 2 on trial")


def test_what_a_key_did_not_sign_gets_no_traffic(serve: Serve, tmp_path: Path) -> None:
    served, keys = serve(1, 2, policy=ONLY_1), write_keys(tmp_path)
    refused(served, SignatureError, "not signed", key=keys.verify)
    write_manifest(served, 2)
    refused(served, SignatureError, "not signed", key=keys.verify)
    sign_version(served.repository, 2, "bert-qa", write_keys(tmp_path, "theirs").sign)
    refused(served, SignatureError, "with another key", key=keys.verify)
    sign_version(served.repository, 2, "bert-qa", keys.sign)

    weights = served.repository.version_dir(2) / "model.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[::-1])
    refused(served, SignatureError, r"model\.bin is missing, or is not the file", key=keys.verify)
    weights.write_bytes(content)

    assert served.having(key=keys.verify).move(TO_2).split == TO_2


def test_what_else_is_in_the_configuration_stays(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    content = json.loads(config(served))
    content["model_config_list"][0]["config"]["nireq"] = 3
    content["monitoring"] = {"metrics": {"enable": True}}
    served.repository.config_path.write_text(json.dumps(content), encoding="utf-8")

    served.move(TO_2)

    after = json.loads(config(served))
    assert after["monitoring"] == content["monitoring"]
    assert after["model_config_list"][0]["config"]["nireq"] == 3


def test_a_version_that_serving_all_took_up_is_held_from_then_on(serve: Serve) -> None:
    served = serve(1, 2)

    served.move(TO_2)

    assert policies(served)["bert-qa"] == {"specific": {"versions": [1, 2]}}


def test_back_goes_to_what_was_before_and_stays_there(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move({1: 90.0, 2: 10.0})
    served.move(TO_2)

    assert served.back().split == {1: 90.0, 2: 10.0}
    with pytest.raises(NothingToDoError, match="1=90,2=10 is the last good split"):
        served.back()


class _InterruptedError(KeyboardInterrupt):
    pass


def interrupted(served: Operated, moment: str) -> Operated:
    """Return what operates the same, and is interrupted at a step."""

    def on_step(step: str) -> None:
        if moment in step:
            raise _InterruptedError

    return served.having(on_step=on_step)


def test_back_again_resumes_one_that_was_interrupted(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move(TO_2)
    served.move({1: 90.0, 2: 10.0})
    with pytest.raises(_InterruptedError):
        interrupted(served, "the split is").back()

    assert served.back().split == TO_2
    assert served.server.split("bert-qa") == TO_2
    assert (served.repository.root / "bert-qa.split").read_text() == "2=100\n"
    with pytest.raises(NothingToDoError, match="2=100 is the last good split"):
        served.back()


def test_back_again_resumes_one_that_still_waits_for_its_last_requests(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move(TO_2)
    with pytest.raises(_InterruptedError):
        interrupted(served, "version 1 served").back()
    eventually(lambda: served.server.available("bert-qa") == {1})

    assert served.back().split == {1: 100.0}


def test_a_switch_after_an_interrupted_return_ends_it(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move(TO_2)
    with pytest.raises(_InterruptedError):
        interrupted(served, "version 1 served").back()

    assert served.move({1: 100.0}).split == {1: 100.0}
    with pytest.raises(NothingToDoError, match="1=100 is the last good split"):
        served.back()


def test_back_returns_to_what_was_before_a_switch_that_was_interrupted(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    with pytest.raises(_InterruptedError):
        interrupted(served, "the split is").move(TO_2)

    assert served.back().split == {1: 100.0}


def test_back_says_at_once_that_the_good_version_is_gone(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    with pytest.raises(_InterruptedError):
        interrupted(served, "the split is").move(TO_2)
    shutil.rmtree(served.repository.version_dir(1))

    with pytest.raises(RepositoryError, match=r"no version 1 of bert-qa \(published: 2\)"):
        served.back()
    assert served.move(TO_2).split == TO_2


def test_a_switch_that_was_interrupted_is_resumed_by_itself(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    with pytest.raises(_InterruptedError):
        interrupted(served, "the split is").move(TO_2)

    assert served.move(TO_2).split == TO_2
    with pytest.raises(NothingToDoError):
        served.move(TO_2)


def test_back_loads_a_version_that_was_retired(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.having(retire=True).move(TO_2)

    returned = served.back()

    assert (returned.split, returned.served) == ({1: 100.0}, [1])


def test_without_a_switch_there_is_nothing_to_go_back_to(serve: Serve) -> None:
    served = serve(1)
    with pytest.raises(NothingToDoError, match="1=100 is the last good split"):
        served.back()


def test_a_version_of_no_weight_leaves(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move({1: 50.0, 2: 50.0})

    switched = served.move({1: 100.0, 2: 0.0})

    assert (switched.split, switched.served, switched.retired) == ({1: 100.0}, [1], [2])


def test_the_same_version_again_is_refused(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move(TO_2)
    refused(served, NothingToDoError, "The split is 2=100 already")


def test_a_copy_of_a_version_under_another_number_is_switched_to(serve: Serve) -> None:
    served = serve(1, policy=ONLY_1)
    write_manifest(served, 1)
    shutil.copytree(served.repository.version_dir(1), served.repository.version_dir(3))

    assert served.move({3: 100.0}).default == 3


def test_an_unknown_version_is_refused(serve: Serve) -> None:
    refused(serve(1), RepositoryError, r"no version 2 of bert-qa \(published: 1\)")


def test_a_version_that_failed_the_gate_is_refused_unless_forced(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    gate = {"passed": False, "forced": True, "f1_drop": 2.5, "max_f1_drop": 1.0}
    write_manifest(served, 2, gate=gate)

    refused(served, QualityGateError, r"F1 fell by 2\.50 points, 1 are allowed")

    assert served.having(force=True).move(TO_2).default == 2
    served.move({1: 100.0})
    assert served.back().split == TO_2, "what was forced once can be returned to"


def test_a_version_with_another_file_than_was_published_is_refused(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    write_manifest(served, 2, files={"model.xml": "0" * 64})
    refused(served, RepositoryError, "not the file that was published as version 2")


def test_a_version_that_does_not_load_is_undone_and_explained(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    (served.repository.version_dir(2) / "model.xml").write_text("<net", encoding="utf-8")
    refused(served, RolledBackError, "returned to 1=100: Version 2 does not load")


def test_a_wrong_answer_is_undone_and_explained(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    smoke = replace(SMOKE, context="no 1932", answer="no 1")
    refused(served, RolledBackError, "'no 1' is right", smoke=smoke)


def test_a_change_by_another_process_is_left_and_shown(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    theirs = json.dumps({**json.loads(config(served)), "monitoring": {"metrics": {"enable": True}}})

    def meddle(_: str) -> None:
        served.repository.config_path.write_text(theirs, encoding="utf-8")

    with pytest.raises(ConfigChangedError) as caught:
        served.having(on_step=meddle).move(TO_2)

    assert config(served) == theirs
    assert caught.value.detail is not None
    assert '+{"model_config_list"' in caught.value.detail
    assert served.move(TO_2).default == 2


def test_two_switches_at_once_are_refused(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    with RepositoryWriter(served.repository):
        refused(served, RepositoryBusyError, r"Another process \(a build, publish or switch\)")


def test_where_nothing_changes_a_switch_needs_no_lock_and_writes_nothing(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.having(retire=True).move(TO_2)
    shutil.rmtree(served.repository.root / WORK_FOLDER)
    with unwritable(served.repository.root), pytest.raises(NothingToDoError, match="already"):
        served.having(retire=True).move(TO_2)
    with RepositoryWriter(served.repository), pytest.raises(NothingToDoError, match="already"):
        served.move(TO_2)


def test_what_does_change_is_done_once(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.move({1: 50.0, 2: 50.0})
    served.steps.clear()
    served.having(retire=True).move(TO_2)
    assert len(served.steps) == len(set(served.steps))


def test_a_repository_that_cannot_be_written_is_named(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    work_folder = served.repository.root / WORK_FOLDER
    shutil.rmtree(work_folder, ignore_errors=True)
    work_folder.write_text("in the way", encoding="utf-8")
    refused(served, RepositoryError, "cannot be written")


def test_a_server_that_is_away_changes_nothing(serve: Serve) -> None:
    served = serve(1, 2, policy=ONLY_1)
    before = config(served)
    away = served.having(Server(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(ServerUnreachableError, match="Cannot connect"):
        away.move(TO_2)
    assert config(served) == before


def test_a_switch_waits_for_followers_that_met_a_server_that_was_away(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_defaults, "FOLLOW_SECONDS", 0.0)
    monkeypatch.setattr(_defaults, "FOLLOW_TIMEOUT_SECONDS", 0.5)
    question: dict[str, Any] = {"question": "When?", "context": "It was in 1932.", "key": "user-17"}
    starting: list[Future[None]] = []

    def meet_it_away() -> None:
        with pytest.raises((ServerUnreachableError, DeadlineExceededError)):
            follower.answer(**question, timeout=0.05)
        server.start()

    def on_step(step: str) -> None:
        if step.startswith("the split is"):
            server.stop()
            starting.append(pool.submit(meet_it_away))

    with (
        toy_server(
            engine,
            tmp_path / "model_repository",
            1,
            2,
            policy=ONLY_1,
            poll_seconds=POLL_SECONDS,
        ) as server,
        QAClient(**server.address(), traffic="auto") as follower,
        ThreadPoolExecutor(1) as pool,
    ):
        operated = operate(server)
        operated.move({1: 90.0, 2: 10.0})
        assert follower.answer(**question).model_version == 1

        operated.having(on_step=on_step).move(TO_2)

        assert follower.answer(**question).model_version == 2
        starting[0].result()


def test_a_repository_that_the_server_does_not_read_is_noticed(
    serve: Serve, tmp_path: Path
) -> None:
    served = serve(1, 2, policy=ONLY_1)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "bert-qa"):
        (other / name).symlink_to(served.repository.root / name)
    (other / "config.json").unlink()
    (other / "config.json").write_text(config(served), encoding="utf-8")
    impatient = served.having(Server(served.rest_url, patience=1))
    lost = replace(impatient, repository=replace(served.repository, root=other))
    with pytest.raises(RolledBackError, match=r"is .*config\.json the file that it reads"):
        lost.move(TO_2)
    assert (other / "config.json").read_text(encoding="utf-8") == config(served)


@pytest.mark.parametrize("text", ["", "[]", '{"model_config_list": [{}]}', "{"])
def test_a_configuration_that_ovms_would_refuse_is_named(serve: Serve, text: str) -> None:
    served = serve(1, 2, policy=ONLY_1)
    served.repository.config_path.write_text(text, encoding="utf-8")
    with pytest.raises(RepositoryError, match="is not a configuration of OVMS"):
        served.move(TO_2)
