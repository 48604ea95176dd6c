"""An environment with `optimum-onnx`, whose pins this project's own environment cannot meet.

It requires transformers below 4.58, and optimum of the time. Only those are installed into it; all
else, PyTorch and ONNX Runtime among it, is that of the running environment.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from filelock import FileLock

REQUIREMENT = "optimum-onnx==0.1.0"
_PLACE = Path(__file__).parents[2] / ".work" / "optimum-onnx"


def python_with_optimum_onnx() -> Path:
    """Return its Python, once it is made; skip the test where pip reaches no index."""
    python, done = _PLACE / "bin" / "python", _PLACE / "done"
    _PLACE.parent.mkdir(exist_ok=True)
    with FileLock(_PLACE.with_suffix(".lock")):
        if not done.exists() or done.read_text() != REQUIREMENT:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(_PLACE)], check=True)
            ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
            own = subprocess.check_output([python, "-c", ask], text=True).strip()
            Path(own, "parent.pth").write_text(sysconfig.get_path("purelib"))
            pip = [str(python), "-m", "pip", "install", "--quiet", REQUIREMENT]
            made = subprocess.run(pip, capture_output=True, text=True, check=False)
            if made.returncode:
                why = made.stderr.strip().splitlines()[-1]
                pytest.skip(f"pip cannot install {REQUIREMENT} into its own environment: {why}")
            done.write_text(REQUIREMENT)
    return python
