from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkpoints import write_squad
from tests.support.models import write_toy_version

HEAVY = ("torch", "onnx", "onnxruntime", "transformers", "nncf")
CODE = f"""
import json, sys
from bertqa_cli import main
try:
    main.run()
finally:
    found = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps([found, "openvino" in sys.modules]), file=sys.stderr)
"""


def test_asking_imports_nothing_that_it_does_not_use() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['bert-qa', 'ask', 'Who?', '--context', 'Anna.', *sys.argv[1:]]\n"
        "from bertqa_cli import main\n"
        "try: main.run()\n"
        "finally: print(sorted({'.'.join(name.split('.')[:2]) for name in sys.modules}), "
        "file=sys.stderr)"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", code, "--url", url, "--timeout", "0.1"],
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1, done.stderr
    imported = set(ast.literal_eval(done.stderr.splitlines()[-1]))
    assert not imported & {
        *("openvino", "torch", "scipy", "jinja2", "fastapi", "kubernetes", "onnxruntime"),
        *("pyarrow", "datasets", "transformers", "matplotlib", "pandas", "bertqa.evaluation"),
        *("pydantic", "pydantic_core", "filelock", "bertqa.runtime"),
        *("bertqa_build", "bertqa_deploy", "bertqa_serve"),
    }


@pytest.mark.parametrize("verb", [("evaluate", "--version", "1"), ("compare", "1", "2")])
def test_an_ir_needs_openvino_alone(tmp_path: Path, verb: tuple[str, ...]) -> None:
    for version in (1, 2):
        write_toy_version(tmp_path, version)
    data = write_squad(tmp_path / "data.json")
    arguments = [*verb, "--data", str(data), "--repository", str(tmp_path), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert json.loads(done.stderr.splitlines()[-1]) == [[], True]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--set", "seed=many"), "seed is 'many'"),
        (("--set", "nope=1"), "nope is not a key of a recipe"),
        (("--repository", f"{__file__}/below"), "cannot be a directory"),
    ],
)
def test_a_build_is_refused_before_pytorch_is_loaded(
    arguments: tuple[str, ...], complaint: str
) -> None:
    recipe = Path(__file__).parents[3] / "build" / "recipes" / "demo.yaml"
    done = subprocess.run(
        [sys.executable, "-c", CODE, "build", str(recipe), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert complaint in done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == [[], False]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("init",), "name the checkpoint with --source"),
        (("init", "--source", "no/such/checkpoint"), "There is no directory"),
        (("build", "--source", "no/such/checkpoint", "--data", "x.json"), "There is no directory"),
    ],
)
def test_a_checkpoint_is_asked_for_and_found_before_pytorch_is_loaded(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "x.json").touch()
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert complaint in done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == [[], False]
