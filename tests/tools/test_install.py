"""tools/install.py: what is shown of pip, and where torch comes from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.web import serving_application
from tools.install import shown, torch_index

ROOT = Path(__file__).parents[2]
PIP = """\
Obtaining file:///src
Collecting numpy (from bertqa==0.2.0)
  Downloading numpy-2.5.0.whl (17 MB)
Collecting httpx>=0.28 (from bertqa==0.2.0)
Collecting numpy<3 (from openvino)
Installing collected packages: numpy, httpx
Successfully installed httpx-0.28.1 numpy-2.5.0
"""


def test_packages_are_counted_once_and_writing_is_said() -> None:
    assert list(shown(PIP.splitlines())) == [
        "1 packages found: numpy",
        "2 packages found: httpx",
        "2 packages found: numpy",
        "writing 2 packages",
    ]


@pytest.fixture
def without_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def test_torch_is_for_cpus_where_there_is_no_gpu_and_its_index_answers(
    without_gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    page = Route("/whl/cpu/torch/", lambda _: PlainTextResponse("torch"))
    port = free_port()
    url = f"http://127.0.0.1:{port}/whl/cpu"
    with serving_application(Starlette(routes=[page]), port):
        assert torch_index(url) == url
        assert torch_index(f"http://127.0.0.1:{port}/elsewhere") is None
        monkeypatch.setattr(sys, "platform", "darwin")
        assert torch_index(url) is None
        monkeypatch.setattr(sys, "platform", "linux")
        gpu = without_gpu / "nvidia-smi"
        gpu.touch(mode=0o755)
        assert torch_index(url) is None
    gpu.unlink()
    assert torch_index(url) is None
    assert torch_index("") is None
    assert torch_index("no address") is None


def test_the_documentation_names_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    section = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").partition("## Extras")[2]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    named = {name for row in rows for name in re.findall("`([a-z0-9]+)`", row)}
    assert named == project["optional-dependencies"].keys()


def make(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TORCH_INDEX": "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    return subprocess.run(
        ["make", "--file", str(ROOT / "Makefile"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_demo_needs_less_than_the_tests_and_nothing_twice(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    assert "install.py build,serve" in make("-n", "demo", folder=tmp_path).stdout
    assert "install.py dev" in make("-n", "test", folder=tmp_path).stdout
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed-for-demo").touch()
    assert "install.py" not in make("-n", "demo", folder=tmp_path).stdout
    assert "install.py dev" in make("-n", "lint", folder=tmp_path).stdout


def test_what_pip_says_is_shown_where_it_fails(tmp_path: Path) -> None:
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "constraints.txt").write_text("pip==0.0.1\n")
    (tmp_path / "pyproject.toml").touch()
    done = make("demo", folder=tmp_path)
    assert done.returncode == 2
    assert "ERROR: Cannot install pip" in done.stdout
    assert "Updating pip failed: pip's output is above" in done.stdout
    assert not (tmp_path / ".venv" / ".installed-for-demo").exists()
