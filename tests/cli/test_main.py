from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import Invoke

HEAVY = (
    *("torch", "openvino", "transformers", "nncf", "onnx"),
    *("starlette", "kubernetes", "azure"),
)


def test_every_verb_speaks_json(invoke: Invoke) -> None:
    for verb in ("build", "serve", "ask", "evaluate", "versions"):
        assert "--json" in invoke(verb, "--help").out


def test_an_unknown_verb_is_wrong_usage(invoke: Invoke) -> None:
    result = invoke("sevre")

    assert result.status == 2
    assert "sevre" in result.err


@pytest.mark.parametrize("module", ["bertqa", "bertqa_cli.main"])
def test_the_light_install_needs_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"
