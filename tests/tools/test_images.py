"""tools/images.py, with programs on PATH that write down how they are called."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chart import render
from tools import images

Calls = Callable[[], list[list[str]]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose repository has a version."""
    version = tmp_path / "model_repository" / "bert-qa" / "1"
    version.mkdir(parents=True)
    (version / "model.xml").touch()
    monkeypatch.setattr(images, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calls]:
    """Put programs on PATH, alone; each fails where the words that it is called with begin so."""
    folder, log = tmp_path / "programs", tmp_path / "calls"
    folder.mkdir()
    log.touch()
    monkeypatch.setenv("PATH", str(folder))

    def put(*names: str, failing: tuple[str, ...] = ()) -> Calls:
        for name in names:
            failures = "\n".join(
                f'case "{name} $*" in "{words}"*) echo "no daemon." >&2; exit 3;; esac'
                for words in failing
            )
            program = folder / name
            text = f'#!/bin/sh\necho "{name} $*" >> {shlex.quote(str(log))}\n{failures}\n'
            program.write_text(text, encoding="utf-8")
            program.chmod(0o755)
        return lambda: [line.split() for line in log.read_text(encoding="utf-8").splitlines()]

    return put


def test_it_builds_under_the_names_that_the_chart_asks_for(
    project: Path, programs: Callable[..., Calls]
) -> None:
    wanted = {
        line.split()[-1].strip('"')
        for scenario in ("default", "training", "switch")
        for line in render(scenario).text.splitlines()
        if "bert-qa-" in line and line.strip().startswith(("image: ", "reference: "))
    }
    calls = programs("docker")
    assert images.main([]) == 0
    built = {call[5] for call in calls() if call[1] == "build"}
    assert wanted <= {reference.removeprefix("docker.io/library/") for reference in built}
    assert len(built) == len(images.IMAGES)


@pytest.mark.parametrize("name", images.IMAGES)
def test_every_image_has_its_file_and_what_the_file_leaves_out(name: str) -> None:
    file = images.ROOT / "deploy" / "docker" / f"{name}.Dockerfile"
    assert file.is_file()
    assert Path(f"{file}.dockerignore").is_file()


@pytest.mark.parametrize("program", images.BUILDERS)
def test_a_registry_gets_what_was_built(
    program: str, project: Path, programs: Callable[..., Calls]
) -> None:
    calls = programs(program)
    assert images.main(["--registry", "registry.example/qa/", "model"]) == 0
    reference = images.reference_of("model", "registry.example/qa")
    assert reference.startswith("registry.example/qa/bert-qa-model:")
    _, build, push = calls()
    file = str(project / "deploy" / "docker" / "model.Dockerfile")
    assert build[:6] == [program, "build", "--file", file, "--tag", reference]
    assert (f"{file}.dockerignore" in build) == (program != "docker")
    assert build[-1] == str(project)
    assert push == [program, "push", reference]


def test_the_first_builder_that_works_builds(project: Path, programs: Callable[..., Calls]) -> None:
    calls = programs("docker", "podman", failing=("docker info",))
    assert images.main(["model"]) == 0
    assert calls()[-1][:2] == ["podman", "build"]


def test_without_a_builder_it_says_why(
    project: Path, programs: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    programs("docker", failing=("docker info",))
    assert images.main(["model"]) == 1
    said = capsys.readouterr().err
    assert "`docker info` fails: no daemon" in said
    assert "podman is not on PATH; buildah is not on PATH" in said


def test_a_failure_ends_it(
    project: Path, programs: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = programs("docker", failing=("docker build",))
    assert images.main(["--registry", "registry.example"]) == 1
    assert "docker ended with exit status 3" in capsys.readouterr().err
    assert [call[1] for call in calls()] == ["info", "build"]


def test_without_a_model_nothing_is_built(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: Callable[..., Calls],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(images, "ROOT", tmp_path)
    calls = programs("docker")
    assert images.main([]) == 1
    assert "model_repository has no version" in capsys.readouterr().err
    assert [call[1] for call in calls()] == ["info"]
    assert images.main(["client"]) == 0


def test_a_model_of_another_name_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Callable[..., Calls]
) -> None:
    version = tmp_path / "model_repository" / "customer-17" / "1"
    version.mkdir(parents=True)
    (version / "model.xml").touch()
    monkeypatch.setattr(images, "ROOT", tmp_path)
    programs("docker")
    assert images.main(["model"]) == 0


@pytest.mark.parametrize("builder", images.BUILDERS)
def test_kind_gets_what_the_chart_needs_without_values_and_a_release(
    builder: str,
    project: Path,
    programs: Callable[..., Calls],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    installed = render("default").text
    calls = programs(builder, "kind", "helm-of-mine", failing=("helm-of-mine status",))
    monkeypatch.setattr(images, "helm", lambda: Path("helm-of-mine"))
    assert images.main(["--kind", "laptop"]) == 0
    made = calls()
    loads = [call for call in made if call[:3] == ["kind", "load", "image-archive"]]
    assert len(loads) == len(images.INSTALLED)
    assert all(call[-2:] == ["--name", "laptop"] for call in loads)
    saved = [call for call in made if call[0] == builder and call[1] in ("save", "push")]
    assert len(saved) == len(loads)
    assert all("docker.io/library/bert-qa-" in call[-1] for call in saved)
    assert made[-1][:4] == ["helm-of-mine", "upgrade", "--install", "bert-qa"]
    assert "kind-laptop" in made[-1]
    assert "helm test bert-qa --kube-context kind-laptop" in capsys.readouterr().out
    for name in images.INSTALLED:
        assert images.reference_of(name).removeprefix("docker.io/library/") in installed


def test_a_release_that_is_there_gets_pods_of_the_new_images(
    project: Path, programs: Callable[..., Calls], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the tag of those before, so the release itself does not change."""
    calls = programs("docker", "kind", "helm", "kubectl")
    for program in ("helm", "kubectl"):
        monkeypatch.setattr(images, program, functools.partial(Path, program))
    assert images.main(["--kind", "laptop"]) == 0
    upgrade, *then = calls()[-3:]
    assert upgrade[:2] == ["helm", "upgrade"]
    for command, verb in zip(then, ("restart", "status"), strict=True):
        assert command[:5] == ["kubectl", "--context", "kind-laptop", "rollout", verb]
        assert command[5:8] == ["deployment", "--selector", "app.kubernetes.io/instance=bert-qa"]


def test_a_cluster_that_is_not_there_is_named_before_anything_is_built(
    project: Path, programs: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    calls = programs("docker", "kind", failing=("kind get kubeconfig",))
    assert images.main(["--kind"]) == 1
    assert "`kind create cluster --name kind` makes one" in capsys.readouterr().err
    assert "build" not in [call[1] for call in calls()]


def test_without_kind_it_says_so(
    project: Path, programs: Callable[..., Calls], capsys: pytest.CaptureFixture[str]
) -> None:
    programs("docker")
    assert images.main(["--kind"]) == 1
    assert "kind is not on PATH" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["modle"], ["--kind", "laptop", "model", "--registry", "r"]])
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        images.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("registry", ["https://registry.example", "registry.example/Team", "a b"])
def test_what_is_not_a_registry_is_refused_before_any_work(
    registry: str,
    project: Path,
    programs: Callable[..., Calls],
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = programs("docker")
    with pytest.raises(SystemExit) as ended:
        images.main(["--registry", registry, "model"])
    assert ended.value.code == 2
    assert f"{registry!r} is no registry" in capsys.readouterr().err
    assert not calls()
