from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
import typer

from bertqa_cli.app import app
from bertqa_cli.catalog import VERBS, load
from bertqa_cli.examples import EXAMPLES
from bertqa_cli.topics import TOPICS
from tests.cli.conftest import Invoke
from tests.cli.test_main import PROGRAM


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """The command and all below it, by what is typed after `bert-qa`."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}".strip())


ALL = {"": typer.main.get_command(app)} | {
    path: command for name in VERBS for path, command in commands(load(name), name)
}


PATHS = [path for path in ALL if path]


@pytest.mark.parametrize("path", ALL)
def test_help_fits_80_columns(invoke: Invoke, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    result = invoke(*path.split(), "--help")

    assert result.status == 0
    assert max(map(len, result.out.splitlines())) <= 80
    assert "…" not in result.out  # No name is cut short.


@pytest.mark.parametrize("path", ALL)
def test_a_narrow_help_has_each_name_whole_and_no_markup(
    invoke: Invoke, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    result = invoke(*path.split(), "--help")

    assert max(map(len, result.out.splitlines())) <= 72  # That of a line to copy.
    assert "\\[" not in result.out
    for each in ALL[path].params:
        assert all(name in result.out for name in each.opts if name.startswith("--"))


def test_a_paragraph_of_a_help_is_wrapped_once(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    lines = [line.strip() for line in invoke("switch", "--help").out.splitlines()]

    assert "--status shows where it stands." in lines


@pytest.mark.parametrize("path", ALL)
def test_every_option_has_a_help_text_that_is_a_sentence(path: str) -> None:
    texts = {
        each.name: getattr(each, "help", None)
        for each in ALL[path].params
        if "--help" not in each.opts
    }

    assert {name: text for name, text in texts.items() if not (text or "").endswith(".")} == {}
    assert (ALL[path].help or "").endswith(".")


@pytest.mark.parametrize("path", ALL)
def test_every_help_ends_with_examples_that_the_program_takes(invoke: Invoke, path: str) -> None:
    examples = EXAMPLES[path]

    assert all(command in invoke(*path.split(), "--help").out for command in examples)
    for command in examples:
        assert len(command) <= 72
        words = shlex.split(re.sub(r" [|<].*", "", command))[1:]
        found = max((each for each in PATHS if words[: len(each.split())] == each.split()), key=len)
        context = click.Context(ALL[found])
        own = words[: words.index("--")] if "--" in words else words
        ALL[found].make_parser(context).parse_args(own[len(found.split()) :])


def test_the_verbs_are_listed_in_groups_without_being_imported() -> None:
    code = (
        "import sys; sys.argv = ['bert-qa', '--help']\n"
        "from bertqa_cli import main\n"
        "try: main.run()\n"
        "finally: print([name for name in sys.modules if name in ('numpy', 'httpx', 'pydantic', "
        "'grpc', 'bertqa.client') or name.startswith('bertqa_cli.verbs')])"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *shown, imported = ended.stdout.splitlines()
    assert imported == "[]"
    for name, entry in VERBS.items():
        assert any(line.split()[1:2] == [name] and entry.help in line for line in shown)
        assert any(f"─ {entry.panel} ─" in line for line in shown)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("sevre", "serve"), ("versions shwo", "show"), ("azureml sbumit", "submit")],
)
def test_what_may_have_been_meant_is_suggested_once(invoke: Invoke, typed: str, meant: str) -> None:
    result = invoke(*typed.split())

    assert result.status == 2
    assert result.err.count(f"Did you mean '{meant}'?") == 1


def test_an_option_without_its_value_names_the_verb(invoke: Invoke) -> None:
    result = invoke("versions", "show", "1", "--repository")

    assert result.status == 2
    assert result.err.endswith(
        "requires an argument. `bert-qa versions show --help` lists the options.\n"
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_what_completes(shell: str, tmp_path: Path) -> None:
    (tmp_path / "bert-qa").write_text(
        f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n', encoding="utf-8"
    )
    words = {
        "bash": {"COMP_WORDS": "bert-qa versions d", "COMP_CWORD": "2"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "bert-qa versions d"},
        "fish": {
            "_TYPER_COMPLETE_ARGS": "bert-qa versions d",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    }[shell]

    ended = subprocess.run(
        PROGRAM,
        capture_output=True,
        text=True,
        env={**os.environ, **words, "_BERT_QA_COMPLETE": f"complete_{shell}"},
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "diff" in ended.stdout
    assert "delete" in ended.stdout
    assert "show" not in ended.stdout


def test_the_version_is_printed(invoke: Invoke) -> None:
    brief, document, alone = invoke("--version"), invoke("--version", "--json"), invoke("--json")

    number = json.loads(document.out)["version"]
    assert (brief.status, brief.out) == (0, f"bert-qa {number}\n")
    assert alone.status == 2


def test_a_verbose_version_has_what_a_report_of_a_bug_needs(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ovms = tmp_path / "ovms"
    ovms.write_text("#!/bin/sh\necho OpenVINO Model Server 2026.4\n", encoding="utf-8")
    ovms.chmod(0o755)
    monkeypatch.setenv("OVMS_BINARY", str(ovms))
    monkeypatch.setenv("COLUMNS", "60")

    table = invoke("--version", "--verbose")
    found = json.loads(invoke("--version", "--verbose", "--json").out)

    assert max(map(len, table.out.splitlines())) <= 60
    assert found["ovms"].startswith("OpenVINO Model Server 2026.4; ")
    assert found["openvino"] == version("openvino")
    assert found["libraries"]["numpy"] == version("numpy")
    assert {"cpu", "cpu_features", "cores", "memory", "system", "python"} <= set(found)


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("columns", [60, 80])
def test_a_topic_is_explained_in_the_width_there_is(
    invoke: Invoke, topic: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))

    result = invoke("help", topic)

    assert result.status == 0
    assert result.out.isascii()  # Every terminal shows it.
    assert max(map(len, result.out.splitlines())) <= columns
    assert Path(TOPICS[topic].page).is_file()
    for verb in TOPICS[topic].verbs.split(", "):
        assert verb == "all" or verb in ALL


def test_help_lists_topics_and_knows_verbs(invoke: Invoke) -> None:
    listed, show, unknown = (
        invoke("help"),
        invoke("help", "versions", "show"),
        invoke("help", "rezume"),
    )

    assert all(name in listed.out for name in TOPICS)
    assert show.out == invoke("versions", "show", "--help").out
    assert (unknown.status, "Did you mean 'resume'?" in unknown.err) == (2, True)
    assert json.loads(invoke("help", "--json").out)["topics"].keys() == TOPICS.keys()
    assert json.loads(invoke("help", "data", "--json").out)["topic"] == "data"
