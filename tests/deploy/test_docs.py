"""docs/tutorial.md, switching.md and publishing.md: examples run, and commands are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bertqa_cli.catalog import load
from bertqa_serve.engine import LocalServer
from tests.support.models import write_config, write_toy_version
from tests.support.ports import free_pair

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "switching.md").read_text(encoding="utf-8")
PUBLISHING = (DOCS / "publishing.md").read_text(encoding="utf-8")
TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"(?:\$ |`)bert-qa ([a-z]+ [^`\n]+)", TUTORIAL + PAGE + PUBLISHING)


@pytest.mark.parametrize(
    ("page", "count"), [(TUTORIAL, 2), (PAGE, 2)], ids=["tutorial", "switching"]
)
def test_the_examples_run(
    page: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for version in (1, 2):
        write_toy_version(tmp_path, version)
    grpc_port, rest_port = free_pair()
    with LocalServer(write_config(tmp_path), grpc_port=grpc_port, rest_port=rest_port):
        examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        assert len(examples) == count
        for example in examples:
            exec(example.replace("localhost:9000", f"localhost:{grpc_port}"), {})
    assert Path("answers.jsonl").exists() == (page == PAGE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_those_of_the_program(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys, sample = ("sign.pem", "public.pem"), "build/recipes/demo/evaluation-sample.json"
    for file in ("dev.json", "answers.jsonl", "recipe.yaml", sample, *keys):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    verb, *arguments = shlex.split(command.replace("...", "localhost:9000"), comments=True)
    load(verb).make_context(verb, arguments)


def test_the_page_shows_commands() -> None:
    assert len(COMMANDS) > 10
