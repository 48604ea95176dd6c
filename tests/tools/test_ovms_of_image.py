""".ci/ovms-of-image, with a `docker` on PATH that has an image of one script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "ovms-of-image"
DOCKER = """#!/bin/sh
echo "$*" >>"$0.calls"
case $1 in
pull) [ "$3" = an-image ] ;;
create) echo a-container ;;
cp)
    mkdir -p "$3/bin" "$3/lib"
    printf '#!/bin/sh\\necho "$LD_LIBRARY_PATH $*"\\n' >"$3/bin/ovms"
    chmod 755 "$3/bin/ovms" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "docker"
    program.write_text(DOCKER, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return program


def taken(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_runs_with_its_own_libraries_alone(docker: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    done = taken("an-image", folder)
    assert done.returncode == 0, done.stderr
    (path,) = done.stdout.splitlines()
    said = subprocess.run([path, "--port", "1 2"], capture_output=True, text=True, check=True)
    assert said.stdout == f"{folder}/ovms/lib --port 1 2\n"
    calls = Path(f"{docker}.calls").read_text(encoding="utf-8").splitlines()
    assert calls[-1] == "rm a-container"


def test_an_image_that_cannot_be_pulled_prints_no_path(docker: Path, tmp_path: Path) -> None:
    done = taken("another-image", tmp_path / "folder")
    assert done.returncode != 0
    assert not done.stdout


def test_wrong_usage() -> None:
    assert taken("an-image").returncode == 2
