from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from bertqa._progress import Progress
from bertqa.artifact import IR_FILE, Repository
from bertqa.errors import InvalidOptionError, QualityGateError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.registries.pulling import pull
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.publishing import Published, publish
from tests.support.hub import Hub
from tests.support.json_server import JsonHandler, answering
from tests.support.keys import write_keys
from tests.support.models import write_manifest

MODEL = Address.parse("hf://org/qa")
IR = "openvino_model.xml"


def push(repository: Repository, version: int = 2, to: str = "hf://org/qa") -> Published:
    return publish(repository, version, Address.parse(to))


def sent(published: Published) -> list[str]:
    return [file.path for file in published.files if file.sent]


def test_a_version_is_one_commit_and_comes_back_under_a_number_of_its_own(
    hub: Hub, made: Repository, tmp_path: Path
) -> None:
    stages: dict[str, Progress] = {}
    published = publish(
        made, 2, MODEL, on_progress=lambda progress: stages.update({progress.stage: progress})
    )

    model = hub.models["org/qa"]
    assert len(sent(published)) == 9
    assert len(model.commits) == 2  # The hub makes one with the model.
    assert model.private
    assert "The model is private" in published.note
    assert published.to == f"{hub.url}/org/qa/tree/main"
    assert stages[f"Sending {IR}"].done == stages[f"Sending {IR}"].total

    target = Repository(tmp_path / "pulled")
    pulled = pull(target, MODEL)

    assert (pulled.version, pulled.present) == (1, False)
    assert pulled.origin == f"hf://org/qa@{model.branches['main']}"
    for name in ("bert-qa", "bert-qa-onnx"):
        before, after = made.manifest(2, name), target.manifest(1, name)
        assert (after.files, after.scores, after.gate) == (before.files, before.scores, before.gate)
        assert after.provenance is not None
        assert after.provenance.pulled_from == pulled.origin
    assert target.config_path.exists()

    assert pull(target, MODEL).present
    assert target.versions() == [1]


def test_what_the_hub_has_is_not_sent_again(hub: Hub, made: Repository) -> None:
    push(made)
    commits = len(hub.models["org/qa"].commits)

    again = push(made)

    assert sent(again) == []
    assert len(hub.models["org/qa"].commits) == commits


def test_a_new_version_replaces_the_former_one_and_leaves_nothing_of_it(
    hub: Hub, repository: Repository
) -> None:
    push(repository, 1)
    first = hub.models["org/qa"].branches["main"]
    shutil.rmtree(repository.root / "bert-qa-onnx" / "2")

    push(repository, 2)

    assert "model.onnx" not in hub.files("org/qa")
    assert "manifests/onnx.json" not in hub.files("org/qa")
    assert "model.onnx" in hub.files("org/qa", first)
    target = Repository(repository.root.parent / "pulled")
    assert pull(target, Address.parse(f"hf://org/qa@{first}")).version == 1
    assert pull(target, MODEL).version == 2
    assert target.manifest(1).files == repository.manifest(1).files
    assert target.versions("bert-qa-onnx") == [1]


def test_a_branch_is_made_where_it_is_missing(hub: Hub, made: Repository) -> None:
    push(made, to="hf://org/qa@trial/a")
    assert "model.onnx" in hub.files("org/qa", "trial/a")
    assert "model.onnx" not in hub.files("org/qa")


def test_a_public_model_is_wished_for(hub: Hub, made: Repository) -> None:
    published = publish(made, 1, MODEL, public=True)
    assert not hub.models["org/qa"].private
    assert "The model is public" in published.note


def test_an_upload_that_broke_off_is_resumed(hub: Hub, made: Repository) -> None:
    def refuse_the_second(method: str, path: str) -> int | None:
        return 400 if method == "PUT" and hub.stored else None

    hub.before = refuse_the_second
    with pytest.raises(StorageError, match=r"status 400. Nothing was changed"):
        push(made)
    assert list(hub.files("org/qa")) == [".gitattributes"]
    (kept,) = hub.stored

    hub.before = lambda method, path: None
    push(made)
    assert hub.sent().count(f"/lfs/{kept}") == 1
    assert len(hub.files("org/qa")) == 10


def test_another_push_in_between_is_not_overwritten(hub: Hub, made: Repository) -> None:
    push(made, 1)

    def another_push(method: str, path: str) -> int | None:
        if "/commit/" in path:
            hub.models["org/qa"].commit("main", {"README.md": b"theirs"})
        return None

    hub.before = another_push
    with pytest.raises(StorageError, match=r"changed by another push meanwhile"):
        push(made, 2)
    assert hub.files("org/qa") == {"README.md": b"theirs"}


@pytest.mark.parametrize(
    ("token", "message"),
    [("", "HF_TOKEN, or sign in"), ("hf_wrong", "may not write there")],
)
def test_credentials_are_missing_or_wrong(
    hub: Hub,
    made: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    token: str,
    message: str,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(StorageError, match=message):
        push(made)
    with pytest.raises(StorageError, match=r"There is no hf://org/qa, or it is private"):
        pull(Repository(tmp_path), MODEL)
    assert not hub.models


def test_without_a_network_a_directory_is_proposed(
    made: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: int
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port}")
    for work in (lambda: push(made), lambda: pull(Repository(tmp_path / "r"), MODEL)):
        with pytest.raises(StorageError, match=r"Cannot connect .* use a directory"):
            work()
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("answer", [b"<html>Sign in</html>", b"[]", b'{"id": "org/qa"}'])
def test_another_server_at_the_endpoint_is_one_sentence(
    made: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: bytes
) -> None:
    class Handler(JsonHandler):
        def serve(self) -> None:
            self.answer(answer)

    with answering(Handler) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        for work in (lambda: push(made), lambda: pull(Repository(tmp_path / "r"), MODEL)):
            with pytest.raises(StorageError):
                work()
    assert not (tmp_path / "r").exists()


def test_a_revision_that_is_not_there_is_named(hub: Hub, made: Repository, tmp_path: Path) -> None:
    push(made)
    with pytest.raises(StorageError, match=r"hf://org/qa has no revision 'v9'"):
        pull(Repository(tmp_path), Address.parse("hf://org/qa@v9"))


def test_a_commit_cannot_be_pushed_to(made: Repository) -> None:
    with pytest.raises(InvalidOptionError, match="names a commit"):
        push(made, to=f"hf://org/qa@{'a' * 40}")


@pytest.mark.parametrize("path", [IR, "model.onnx"])
def test_a_file_that_is_not_the_manifest_s_is_not_published(
    hub: Hub, made: Repository, tmp_path: Path, path: str
) -> None:
    push(made)
    files = {**hub.files("org/qa"), path: b"another" * 20_000}
    hub.models["org/qa"].commit("main", files)
    target = Repository(tmp_path / "r")
    with pytest.raises(StorageError, match=rf"The {path} of .* is not the one"):
        pull(target, MODEL)
    assert not target.root.exists()


def test_a_damaged_file_of_the_cache_is_fetched_anew(
    hub: Hub, made: Repository, tmp_path: Path
) -> None:
    push(made)
    pull(Repository(tmp_path / "first"), MODEL)
    (cached,) = (tmp_path / "cache").glob(f"**/snapshots/*/{IR}")
    cached.resolve().write_bytes(b"damaged")

    pull(Repository(tmp_path / "second"), MODEL)

    there = Repository(tmp_path / "second").version_dir(1) / IR_FILE
    assert there.read_bytes() == (made.version_dir(2) / IR_FILE).read_bytes()


def test_a_model_of_other_tools_is_not_a_version(
    hub: Hub, made: Repository, tmp_path: Path
) -> None:
    push(made)
    for files in ({"model.safetensors": b""}, {"manifests/openvino.json": b"{}"}):
        hub.models["org/qa"].commit("main", files)
        with pytest.raises(StorageError, match=r"holds no version"):
            pull(Repository(tmp_path), MODEL)


def test_a_version_that_failed_the_gate_is_pulled_by_force_alone(
    hub: Hub, repository: Repository, tmp_path: Path
) -> None:
    write_manifest(
        repository.version_dir(1), family="bert", gate={"passed": False, "reasons": ["F1 fell"]}
    )
    publish(repository, 1, MODEL, force=True)
    with pytest.raises(QualityGateError, match=r"hf://org/qa failed the quality gate.*F1 fell"):
        pull(Repository(tmp_path / "r"), MODEL)
    assert pull(Repository(tmp_path / "r"), MODEL, force=True).version == 1


def test_a_hub_that_breaks_off_a_download_is_one_sentence(
    hub: Hub, made: Repository, tmp_path: Path
) -> None:
    push(made)
    hub.before = lambda method, path: 418 if "/resolve/" in path else None
    with pytest.raises(StorageError):
        pull(Repository(tmp_path / "r"), MODEL)
    assert not (tmp_path / "r").exists()


def test_the_library_s_settings_are_as_they_were(hub: Hub, made: Repository) -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    push(made)
    assert not are_progress_bars_disabled()
    assert isinstance(httpx.get(hub.url).status_code, int)


def test_signatures_go_to_the_hub_and_are_verified_from_its_cache(
    hub: Hub, repository: Repository, tmp_path: Path
) -> None:
    """Whose files are links, as model-signing takes none."""
    keys = write_keys(tmp_path)
    push(repository)
    published = publish(repository, 2, MODEL, sign=keys.sign)

    assert sorted(sent(published)) == ["manifests/onnx.json.sig", "manifests/openvino.json.sig"]
    pulled = pull(Repository(tmp_path / "pulled"), MODEL, verify=keys.verify)
    assert pulled.version == 1
