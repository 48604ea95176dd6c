import os
import shutil
import subprocess
import sys
from pathlib import Path

import ninja
import pytest

from bertqa_build.compilation import compiled_quantizers

LOCK = (
    "import os, pathlib, time\n"
    "from nncf.torch.quantization.extensions import *\n"
    "from bertqa_build.errors import BuildError\n"
    "from bertqa_build.compilation import compiled_quantizers\n"
    "lock = pathlib.Path(QuantizedFunctionsCPULoader.get_build_dir(), 'lock')\n"
)
# No compiler, so that NNCF falls back on its slower quantisers at once.
LOAD = (
    "try:\n"
    "    with compiled_quantizers():\n"
    "        print('done:', lock.exists())\n"
    "except BuildError as error:\n"
    "    print('refused:', error)\n"
)


def run(script: str, directory: Path, timeout: str) -> str:
    environment = {
        "TORCH_EXTENSIONS_DIR": str(directory),
        "NNCF_EXTENSION_LOAD_TIMEOUT": timeout,
        "CXX": str(directory / "no-compiler"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_lock_that_a_killed_process_left_stops_no_later_build(tmp_path: Path) -> None:
    printed = run(LOCK + "lock.touch()\n" + LOAD, tmp_path, "120")
    assert "done: False" in printed


def test_a_lock_whose_process_lives_is_waited_for(tmp_path: Path) -> None:
    printed = run(LOCK + "held = lock.open('w')\n" + LOAD, tmp_path, "1")
    assert "refused: NNCF did not compile its quantisers within 1 seconds." in printed
    assert f"compiles them in {tmp_path}" in printed


def test_the_time_for_compiling_is_limited_and_the_environment_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "NNCF_EXTENSION_LOAD_TIMEOUT"
    monkeypatch.delenv(name, raising=False)
    with compiled_quantizers():
        assert int(os.environ[name]) > 60
    assert name not in os.environ
    monkeypatch.setenv(name, "90")
    with compiled_quantizers():
        assert os.environ[name] == "90"
    assert os.environ[name] == "90"


def test_one_ninja_compiles_whatever_the_path_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "ninja"
    other.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with compiled_quantizers():
        assert shutil.which("ninja") == str(Path(ninja.BIN_DIR, "ninja"))
    assert shutil.which("ninja") == str(other)


def test_each_environment_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "TORCH_EXTENSIONS_DIR"
    kept = {}
    monkeypatch.delenv(name, raising=False)
    for prefix in (sys.prefix, str(tmp_path)):
        monkeypatch.setattr(sys, "prefix", prefix)
        with compiled_quantizers():
            kept[prefix] = os.environ[name]
    assert len(set(kept.values())) == 2
    assert name not in os.environ
    monkeypatch.setenv(name, str(tmp_path))
    with compiled_quantizers():
        assert os.environ[name] == str(tmp_path)
