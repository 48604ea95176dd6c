from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools import programs


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are put: an empty folder."""
    monkeypatch.setattr(programs, "TOOLS", tmp_path / "tools")
    return tmp_path / "tools"


def test_a_program_is_fetched_once_for_all_who_need_it(folder: Path) -> None:
    fetched: list[Path] = []
    together = threading.Barrier(4)

    def fetch(directory: Path) -> None:
        fetched.append(directory)
        (directory / "program").write_text("whole", encoding="utf-8")

    def need() -> str:
        together.wait(60)
        return (programs._fetched("one==1", fetch) / "program").read_text(encoding="utf-8")

    with ThreadPoolExecutor(4) as pool:
        needed = [pool.submit(need) for _ in range(4)]
    assert [each.result() for each in needed] == ["whole"] * 4
    assert fetched == [folder / "one==1"]


def test_what_was_fetched_in_part_is_fetched_again(folder: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        programs._fetched("one==1", fail)

    found = programs._fetched("one==1", lambda directory: (directory / "program").touch())
    assert not (found / "half").exists()
    assert (found / "program").exists()


def test_azurite_needs_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(programs.MissingProgramError, match="Azurite needs node"):
        programs.azurite.__wrapped__()


def test_promtool_that_is_nowhere_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(programs.MissingProgramError, match="promtool is not on PATH, and Debian's"):
        programs.promtool.__wrapped__()
    assert not (folder / "debian-prometheus" / ".complete").exists()


def test_promtool_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "promtool"
    programs._write_program(program, b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.promtool.__wrapped__() == program


def test_an_unknown_program_is_wrong_usage() -> None:
    command = [sys.executable, "-m", "tools.programs", "helmm"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("Unknown program 'helmm': choose one of helm, ")
