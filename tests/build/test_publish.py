from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bertqa.artifact import (
    MODEL_NAME,
    WORK_FOLDER,
    Repository,
    Scores,
    VersionManifest,
    require_signed,
    sha256_of,
)
from bertqa.errors import RepositoryError
from bertqa_build.publish import Artefacts, publish
from tests.support.keys import write_keys

MODELS = ("bert-qa", "bert-qa-onnx")
MANIFEST = VersionManifest(
    model=MODEL_NAME,
    version=0,
    precision="int8",
    format="",
    source="tests",
    published="",
    files={},
    scores=Scores("dev.json", 10, exact_match=70.0, f1=80.0),
    parent=1,
)


@pytest.fixture
def artefacts(tmp_path: Path) -> Artefacts:
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("model.xml", "model.bin", "model.onnx"):
        (folder / name).write_bytes(name.encode() * 1000)
    return Artefacts(folder / "model.xml", folder / "model.onnx")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def assert_whole(repository: Repository) -> None:
    """Every version that is there has all its files, with the digests in its manifest."""
    for model in MODELS:
        for version in repository.versions(model):
            manifest = repository.manifest(version, model)
            directory = repository.version_dir(version, model)
            assert (manifest.model, manifest.version) == (model, version)
            assert {path.name for path in directory.iterdir()} == {"manifest.json", *manifest.files}
            for name, digest in manifest.files.items():
                assert sha256_of(directory / name) == digest
    if repository.config_path.exists():
        json.loads(repository.config_path.read_text())


def assert_nothing_left(repository: Repository) -> None:
    """The work folder holds what is kept for ever, and no half of a version is to be seen."""
    left = {path.name for path in (repository.root / WORK_FOLDER).iterdir()}
    assert left == {"lock", "numbers.json"}
    assert repository.versions(MODELS[0]) == repository.versions(MODELS[1])


def test_publishes_both_formats_with_manifests_and_a_config(
    repository: Repository, artefacts: Artefacts
) -> None:
    assert publish(repository, artefacts, MANIFEST) == 1
    assert publish(repository, artefacts, MANIFEST) == 2
    assert_whole(repository)
    for model, files, kind in (
        ("bert-qa", {"model.xml", "model.bin"}, "openvino"),
        ("bert-qa-onnx", {"model.onnx"}, "onnx"),
    ):
        assert repository.versions(model) == [1, 2]
        manifest = repository.manifest(2, model)
        assert (set(manifest.files), manifest.format) == (files, kind)
        assert (manifest.precision, manifest.parent) == ("int8", 1)
        assert manifest.scores == (MANIFEST.scores if kind == "openvino" else None)
        assert manifest.published.endswith("+00:00")
    config = json.loads(repository.config_path.read_text())
    assert config == {
        "model_config_list": [
            {
                "config": {
                    "name": "bert-qa",
                    "base_path": "bert-qa",
                    "model_version_policy": {"all": {}},
                }
            }
        ]
    }


def test_both_formats_are_signed_when_they_appear(
    repository: Repository, artefacts: Artefacts, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path)
    publish(repository, artefacts, MANIFEST, key=keys.sign)
    for model in MODELS:
        require_signed(repository.version_dir(1, model), keys.verify)


def test_leaves_an_existing_config_alone(repository: Repository, artefacts: Artefacts) -> None:
    repository.root.mkdir()
    mine = '{"model_config_list": [{"config": {"name": "bert-qa", "base_path": "bert-qa"}}]}'
    repository.config_path.write_text(mine)
    publish(repository, artefacts, MANIFEST)
    assert repository.config_path.read_text() == mine


def test_a_number_is_never_given_twice(repository: Repository, artefacts: Artefacts) -> None:
    (repository.root / "bert-qa" / "3").mkdir(parents=True)
    (repository.root / "bert-qa-onnx" / "7").mkdir(parents=True)
    assert publish(repository, artefacts, MANIFEST) == 8
    for model in MODELS:
        directory = repository.version_dir(8, model)
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    assert publish(repository, artefacts, MANIFEST) == 9


def test_two_at_once_get_two_numbers(repository: Repository, artefacts: Artefacts) -> None:
    start = threading.Barrier(4)

    def publish_with_others() -> int:
        start.wait()
        return publish(repository, artefacts, MANIFEST)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(publish_with_others) for _ in range(4)]
    assert sorted(future.result() for future in futures) == [1, 2, 3, 4]
    assert_whole(repository)


def test_what_another_process_published_meanwhile_is_not_published_again(
    repository: Repository, artefacts: Artefacts
) -> None:
    asked: list[int | None] = []

    def present() -> int | None:
        asked.append(max(repository.versions(MODEL_NAME), default=None))
        return asked[-1]

    with ThreadPoolExecutor() as pool:
        numbers = list(
            pool.map(lambda _: publish(repository, artefacts, MANIFEST, present=present), range(4))
        )
    assert numbers == [1] * 4
    assert asked == [None, 1, 1, 1]
    assert_whole(repository)


def test_killed_at_any_moment_leaves_a_whole_repository(
    repository: Repository, artefacts: Artefacts
) -> None:
    """A publisher dies before each of its system calls in turn, until one gets to its end."""
    publish(repository, artefacts, MANIFEST)
    script = (
        "import sys; from tests.build import test_publish; "
        "test_publish.kill_at_every_moment(*sys.argv[1:])"
    )
    done = run_python(script, repository, artefacts)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "too few moments were tried"
    highest = max(max(repository.versions(model)) for model in MODELS)
    assert publish(repository, artefacts, MANIFEST) == highest + 1
    assert_nothing_left(repository)


def kill_at_every_moment(root: str, made: str) -> None:
    """Runs in a process of its own, which has no threads and can fork as it likes."""
    repository = Repository(Path(root))
    artefacts = Artefacts(Path(made) / "model.xml", Path(made) / "model.onnx")
    for call in itertools.count(1):
        before = {model: repository.versions(model) for model in MODELS}
        if os.fork() == 0:
            publish_and_die(repository, artefacts, call)
        status = os.waitstatus_to_exitcode(os.wait()[1])
        assert_whole(repository)
        for model in MODELS:
            assert set(before[model]) <= set(repository.versions(model))
        if status == 0:
            print(call)
            return
        assert status == -signal.SIGKILL


EVENTS = frozenset(
    ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "fcntl.flock")
)


def publish_and_die(repository: Repository, artefacts: Artefacts, call: int) -> None:
    calls = 0

    def trace(event: str, _: object) -> None:
        nonlocal calls
        if event in EVENTS:
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        sys.addaudithook(trace)
        publish(repository, artefacts, MANIFEST)
        status = 0
    finally:
        os._exit(status)


def run_python(
    script: str, repository: Repository, artefacts: Artefacts
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(repository.root), str(artefacts.ir.parent)],
        capture_output=True,
        text=True,
    )


def test_a_failure_is_one_error_and_leaves_nothing(
    repository: Repository, artefacts: Artefacts
) -> None:
    """The file size limit of a child process stands for a disk that is full."""
    publish(repository, artefacts, MANIFEST)
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bertqa.errors import RepositoryError\n"
        "from bertqa.artifact import Repository\n"
        "from bertqa_build.publish import Artefacts, publish\n"
        "from tests.build.test_publish import MANIFEST\n"
        "made = Path(sys.argv[2])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n"
        "    publish(Repository(Path(sys.argv[1])), Artefacts(made / 'model.xml', "
        "made / 'model.onnx'), MANIFEST)\n"
        "except RepositoryError as error:\n"
        "    print(error)\n"
    )
    done = run_python(script, repository, artefacts)
    assert "cannot be written: File too large" in done.stdout
    assert_whole(repository)
    assert {model: repository.versions(model) for model in MODELS} == {
        model: [1] for model in MODELS
    }
    assert_nothing_left(repository)


def test_refuses_what_cannot_be_published(
    repository: Repository, artefacts: Artefacts, tmp_path: Path
) -> None:
    artefacts.weights.unlink()
    with pytest.raises(RepositoryError, match=r"There is no .*model\.bin to publish"):
        Artefacts(artefacts.ir, artefacts.onnx)
    artefacts.weights.touch()
    (tmp_path / "file").touch()
    with pytest.raises(RepositoryError, match="cannot be written"):
        publish(Repository(tmp_path / "file"), artefacts, MANIFEST)


def test_a_damaged_record_is_named(repository: Repository, artefacts: Artefacts) -> None:
    publish(repository, artefacts, MANIFEST)
    (repository.root / WORK_FOLDER / "numbers.json").write_text("x")
    with pytest.raises(RepositoryError, match=r"numbers\.json should hold the version numbers"):
        publish(repository, artefacts, MANIFEST)
    assert repository.versions() == [1]


def a_link_to_nothing(config: Path) -> None:
    config.symlink_to("nowhere/config.json")


@pytest.mark.parametrize("make", [a_link_to_nothing, Path.mkdir])
def test_a_configuration_that_cannot_be_completed_is_refused_before_a_version_appears(
    make: Callable[[Path], None], repository: Repository, artefacts: Artefacts
) -> None:
    repository.root.mkdir(exist_ok=True)
    make(repository.config_path)
    with pytest.raises(RepositoryError, match=r"config\.json .* Nothing was changed"):
        publish(repository, artefacts, MANIFEST)
    assert [path.name for path in repository.root.iterdir()] == ["config.json"]


def test_a_model_whose_directory_is_a_file_is_refused_before_a_version_appears(
    repository: Repository, artefacts: Artefacts
) -> None:
    repository.root.mkdir(exist_ok=True)
    (repository.root / "bert-qa-onnx").write_text("a file")
    with pytest.raises(RepositoryError, match=r"bert-qa-onnx .* has to be a directory"):
        publish(repository, artefacts, MANIFEST)
    assert [path.name for path in repository.root.iterdir()] == ["bert-qa-onnx"]
