"""deploy/docker: what the images are made from."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tools.hashes import EXTRAS, WHEEL, path_of
from tools.programs import MLFLOW

ROOT = Path(__file__).parents[3]
DOCKERFILES = {
    path.name.removesuffix(".Dockerfile"): path
    for path in sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
}
images = pytest.mark.parametrize("image", DOCKERFILES)


def instructions(image: str, name: str) -> list[str]:
    text = DOCKERFILES[image].read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", text, flags=re.MULTILINE)


def copied(image: str) -> list[str]:
    """The paths of the project that go into an image."""
    return [
        source
        for instruction in instructions(image, "COPY")
        if "--from=" not in instruction
        for source in [part for part in instruction.split() if not part.startswith("--")][:-1]
    ]


def installed(image: str) -> set[str]:
    """The names of all packages in the list of hashes of an image."""
    text = path_of(image).read_text(encoding="utf-8")
    return set(re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE))


def let_in(image: str) -> list[str]:
    ignored = DOCKERFILES[image].with_suffix(".Dockerfile.dockerignore")
    lines = ignored.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "*", "what is not listed stays out"
    return [line[1:] for line in lines if line.startswith("!")]


def test_the_images_are_those_of_the_chart_and_of_azure_ml() -> None:
    assert set(DOCKERFILES) == {
        *("build", "client", "model", "switch"),
        *("azureml-build", "azureml-serve"),
    }


@images
def test_all_that_is_copied_is_let_in_by_the_ignore_file(image: str) -> None:
    assert bool(copied(image)) is (image != "azureml-serve")
    for source in copied(image):
        assert any(Path(source).is_relative_to(allowed) for allowed in let_in(image)), source


@pytest.mark.parametrize(
    ("name", "is_in"),
    [
        ("bert-qa", True),
        ("customer-17", True),
        ("bert-qa-onnx", False),
        (".bert-qa", False),
        ("config.json", False),
    ],
)
def test_the_model_image_has_every_model_that_ovms_serves(name: str, is_in: bool) -> None:
    ignored = DOCKERFILES["model"].with_suffix(".Dockerfile.dockerignore")
    rules = ignored.read_text(encoding="utf-8").splitlines()
    assert copied("model") == let_in("model") == ["model_repository"]
    assert any(fnmatch(f"model_repository/{name}", rule) for rule in rules[2:]) is not is_in


@images
def test_each_runs_as_the_user_that_the_chart_or_azure_asks_for(image: str) -> None:
    user = "0:0" if image == "azureml-build" else "5000:5000"
    assert instructions(image, "USER") == [user]


def test_all_images_with_the_distribution_copy_the_same_sources() -> None:
    own = re.compile(r"build/recipes|constraints\.txt|deploy/docker/[\w.]+")
    client, *others = (
        [source for source in copied(image) if not own.fullmatch(source)]
        for image in ("client", "switch", "build", "azureml-build")
    )
    assert "cli" in client
    assert others == [client] * 3


def test_the_image_of_the_switch_has_helm_of_one_version_and_no_training() -> None:
    (helm,) = [image for image in instructions("switch", "FROM") if "helm" in image]
    assert re.fullmatch(r"alpine/helm:4\.\d+\.\d+@sha256:\w+ AS helm", helm)
    assert "--from=helm /usr/bin/helm /usr/local/bin/helm" in instructions("switch", "COPY")
    needs = installed("switch")
    assert {"kubernetes", "scipy"} <= needs
    assert not needs & {"torch", "nncf", "transformers"}


@images
def test_no_shell_evaluates_what_a_variable_holds(image: str) -> None:
    for name in ("ENTRYPOINT", "CMD"):
        assert not any(re.search(r"\beval\b", each) for each in instructions(image, name))


def test_the_image_of_the_client_verifies_models() -> None:
    assert {"fastapi", "model-signing", "pyopenssl"} <= installed("client")


@pytest.mark.parametrize("image", EXTRAS)
def test_an_image_without_torch_installs_only_files_of_known_hashes(image: str) -> None:
    install, *_ = instructions(image, "RUN")
    unknown = [
        command
        for command in install.split("&&")
        if re.search(r"pip (install|wheel)", command)
        and "--require-hashes" not in command
        and "--no-deps" not in command
    ]
    assert unknown == []
    for name in (image, WHEEL):
        assert f"--require-hashes --requirement {path_of(name).name}" in install
        assert str(path_of(name).relative_to(ROOT)) in copied(image)


@images
def test_each_is_made_from_bases_that_cannot_change(image: str) -> None:
    """But for OVMS's own, which Azure takes as it is and nothing is built on."""
    bases = instructions(image, "FROM")
    assert bases
    if image != "azureml-serve":
        assert all(re.search(r":[\w.-]+@sha256:[0-9a-f]{64}( AS \w+)?$", base) for base in bases)


def test_the_image_of_azure_ml_has_the_mlflow_that_is_tested() -> None:
    assert MLFLOW in " ".join(instructions("azureml-build", "RUN"))


@pytest.mark.thorough
def test_what_is_copied_is_enough_to_build_the_distribution(tmp_path: Path) -> None:
    for source in copied("client"):
        target = tmp_path / "source" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / source, target)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    subprocess.run([*pip, "--wheel-dir", tmp_path, tmp_path / "source"], check=True)
    (wheel,) = tmp_path.glob("bertqa-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "bert-qa = bertqa_cli.main:program" in archive.read(entry_points).decode()
    assert {"bertqa/client/__init__.py", "bertqa_build/pipeline.py"} <= set(names)
