from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.models import write_manifest, write_published_version
from tests.support.stores import CutError, Proxy, Request, Store, only


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("publish") / "model_repository"
    for version in (1, 2):
        write_published_version(root, version)
        # A registry is given a model's family too.
        write_manifest(root / "bert-qa" / str(version), family="bert")
    return root


def test_the_latest_version_goes_to_a_directory_and_again_is_a_success(
    invoke: Invoke, root: Path, tmp_path: Path
) -> None:
    arguments = ("publish", "--to", str(tmp_path / "copy"), "--repository", str(root))

    result = invoke(*arguments)

    assert result.status == 0, result.err
    assert f"Version 2 of bert-qa is at {tmp_path / 'copy'}: 5 files sent (" in result.out
    assert "Reading back bert-qa/2/model.xml" in result.err

    again = invoke(*arguments)

    assert again.status == 0
    assert "all 5 files were there already, and are the same: nothing was sent." in again.out


def test_what_was_published_is_listed_as_json(invoke: Invoke, root: Path, tmp_path: Path) -> None:
    result = invoke("publish", "1", "--to", str(tmp_path), "--repository", str(root), "--json")

    published = json.loads(result.out)
    assert (published["version"], published["model"], published["to"]) == (
        1,
        "bert-qa",
        str(tmp_path),
    )
    assert [(file["path"], file["sent"]) for file in published["files"]] == [
        ("bert-qa-onnx/1/manifest.json", True),
        ("bert-qa-onnx/1/model.onnx", True),
        ("bert-qa/1/manifest.json", True),
        ("bert-qa/1/model.bin", True),
        ("bert-qa/1/model.xml", True),
    ]


def test_a_copy_is_a_repository(invoke: Invoke, root: Path, tmp_path: Path) -> None:
    invoke("publish", "--to", str(tmp_path / "copy"), "--repository", str(root))

    listed = invoke("versions", "--repository", str(tmp_path / "copy"), "--json")
    assert [version["version"] for version in json.loads(listed.out)["versions"]] == [2]
    onward = ("--repository", str(tmp_path / "copy"), "--to", str(tmp_path / "onward"))
    assert invoke("publish", *onward).status == 0


def test_it_goes_to_a_store(invoke: Invoke, root: Path, store: Store) -> None:
    result = invoke("publish", "--to", store.url, "--repository", str(root))

    assert result.status == 0, result.err
    assert f"Version 2 of bert-qa is at {store.url}" in result.out
    assert len(store.contents()) == 5


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--to", "abfs://models/qa"], 2, "write az://"),
        (["--to", "ftp://models/qa"], 2, "A repository cannot be at ftp://"),
        (["--to", ""], 2, "'--to': It is empty"),
        (["9", "--to", "copy"], 1, "no version 9 of bert-qa (published: 1, 2)"),
        (["--model", "other", "--to", "copy"], 1, "has no version of other"),
        ([], 2, "Missing option '--to'"),
        (["--to", "az://models/qa", "--layout", "hub"], 2, "--layout hub is for a"),
        (["--to", "elsewhere", "--public"], 2, "leave out --public"),
        (["--to", "elsewhere", "--layout", "x"], 2, "Invalid value for '--layout'"),
        (["--to", f"hf://org/name@{'0' * 40}"], 2, "names a commit"),
        (["--to", "mlflow://name/3"], 2, "MLflow numbers versions itself"),
        (["--to", "mlflow://name"], 1, "MLFLOW_TRACKING_URI is not set"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    invoke: Invoke,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = invoke("publish", *arguments, "--repository", str(root))
    assert (result.status, result.out) == (status, "")
    assert complaint in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_what_failed_the_gate_ends_with_the_gate_s_status(invoke: Invoke, tmp_path: Path) -> None:
    write_published_version(tmp_path / "from", 1)
    write_manifest(tmp_path / "from" / "bert-qa" / "1", gate={"passed": False})
    arguments = ("--repository", str(tmp_path / "from"), "--to", str(tmp_path / "to"))

    refused = invoke("publish", *arguments)

    assert refused.status == 3
    assert "failed the quality gate" in refused.err
    assert not (tmp_path / "to").exists()
    assert invoke("publish", "--force", *arguments).status == 0


def test_without_credentials_there_is_one_sentence(
    invoke: Invoke, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, {})
    result = invoke("publish", "--to", "az://models/qa", "--repository", str(root))
    assert result.status == 1
    assert "error: There are no credentials for az://models/qa: set AZURE_STORAGE_" in result.err
    assert "Traceback" not in result.err


def test_an_interrupted_publish_names_the_way_to_resume(
    root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, ended = threading.Event(), threading.Event()

    def hold(request: Request) -> None:
        if request.writes and request.file == "model.xml":
            reached.set()
            ended.wait(240)
            raise CutError

    proxy = Proxy(store.endpoint)
    proxy.before = hold
    with proxy.running() as url:
        store.use(monkeypatch, url)
        command = (sys.executable, "-m", "bertqa_cli.main", "publish", "--to", store.url)
        process = subprocess.Popen(
            [*command, "--repository", str(root)],
            stderr=subprocess.PIPE,
            text=True,
            # Tests that run in the background of a shell have the signal ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert reached.wait(240)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=240)
        ended.set()

    assert process.returncode not in (0, 2, 3)
    assert "Run the same command again to resume." in err
    assert "Traceback" not in err
    assert "bert-qa/2/model.xml" not in store.contents()
