from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertqa.errors import QualityGateError
from bertqa_cli.verbs import versions
from tests.cli.conftest import CONTEXT, QUESTION, Invoke
from tests.support.models import write_published_version

PROGRAM = (sys.executable, "-m", "bertqa_cli.main")

HEAVY = (
    *("torch", "openvino", "transformers", "nncf", "onnx"),
    *("starlette", "kubernetes", "azure"),
)


def test_an_unknown_verb_is_wrong_usage(invoke: Invoke) -> None:
    result = invoke("sevre")

    assert result.status == 2
    assert "sevre" in result.err


@pytest.mark.parametrize("module", ["bertqa", "bertqa_cli.main", "bertqa_cli.app"])
def test_the_light_install_needs_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"


def test_no_arguments_show_the_help(invoke: Invoke) -> None:
    for arguments in ([], ["azureml"]):
        result = invoke(*arguments)
        assert result.status == 2
        assert "Usage: bert-qa" in result.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ask", "--timeuot", "5"], "No such option '--timeuot'"),
        (["pull"], "Missing argument 'URL'"),
        (["ask", "q", "--top-k", "none"], "Invalid value for '--top-k'"),
    ],
)
def test_wrong_usage_names_the_option_and_the_help(
    invoke: Invoke, arguments: list[str], complaint: str
) -> None:
    result = invoke(*arguments)

    assert result.status == 2
    assert result.err.startswith("error: ")
    assert complaint in result.err
    assert f"bert-qa {arguments[0]} --help" in result.err


def test_what_the_gate_refuses_has_a_status_of_its_own(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise QualityGateError("Version 2 failed the quality gate.", detail="F1 fell")

    monkeypatch.setattr(versions, "_published", refuse)

    result = invoke("versions")

    assert result.status == 3
    assert result.err == "error: Version 2 failed the quality gate.\ndetail: F1 fell\n"


def interruptible() -> None:
    """Tests that run in the background of a shell have the signal ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(*arguments: str, by: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """Interrupt a verb whose request has arrived, where nothing answers it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [*PROGRAM, *arguments, "--url", url, "--timeout", "1h"],
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=interruptible,
        )
        with accepted(silent, process):
            process.send_signal(by)
            out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def accepted(silent: socket.socket, process: subprocess.Popen[str]) -> socket.socket:
    """Return the connection that a process makes, or say what it did instead."""
    deadline = time.monotonic() + 120
    silent.settimeout(0.5)
    while process.poll() is None:
        with contextlib.suppress(TimeoutError):
            return silent.accept()[0]
        if time.monotonic() > deadline:
            process.send_signal(signal.SIGABRT)  # The stacks of all threads go to its stderr.
    pytest.fail(f"It ended with {process.returncode} unasked: {process.communicate()}")


def test_an_interrupt_ends_with_130_and_one_word() -> None:
    ended = interrupted("ask", QUESTION, "--context", CONTEXT)

    assert ended == (130, "", "interrupted\n")


LATE = """
from concurrent.futures import ThreadPoolExecutor
import time
from bertqa_cli import app, main

def late(arguments):
    ThreadPoolExecutor(1, "bertqa-text").submit(time.sleep, 3600)
    print("answered")
    return 1

app.main = late
main.run()
"""


def test_a_text_whose_time_is_over_does_not_hold_up_the_end() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "answered\n", "")


PROGRAM_ENDS = """
import atexit, sys, threading, time
from bertqa_cli import app, main

class Library:
    def __del__(self):
        print("taken apart")

def work(arguments):
    atexit.register(print, "registered")
    main.library = Library()
    threading.Thread(target=lambda: (time.sleep(0.1), print("awaited"))).start()
    {then}

app.main = work
main.program()
"""


@pytest.mark.parametrize(
    ("then", "status", "ends"),
    [
        ("return 3", 3, "awaited\nregistered\n"),
        ("sys.exit(0)", 0, "awaited\nregistered\n"),
        ("raise ValueError", 1, "awaited\nregistered\ntaken apart\n"),  # With its traceback.
    ],
)
def test_a_process_ends_when_all_is_done_and_takes_nothing_apart(
    then: str, status: int, ends: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM_ENDS.replace("{then}", then)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (status, ends)
    assert ("Traceback" in ended.stderr) == (then == "raise ValueError")


@pytest.mark.parametrize(
    ("by", "expected", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_that_ends_what_can_be_resumed_names_the_way(
    tmp_path: Path, by: signal.Signals, expected: int, word: str
) -> None:
    questions = tmp_path / "questions.csv"
    questions.write_text("question,context\nWho?,Anna.\n", encoding="utf-8")

    status, _, err = interrupted(
        "ask", "--input", str(questions), "--output", str(tmp_path / "answers.csv"), by=by
    )

    assert status == expected
    assert err.endswith(f"Run the same command again to resume.\n{word}\n")


@pytest.mark.parametrize("name", ["logging.py", "typer.py"])
@pytest.mark.parametrize(
    "module",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
        # A library may turn it into another error.
        (
            "import os, signal\n"
            "try: os.kill(os.getpid(), signal.SIGINT)\n"
            "except BaseException as error: raise ImportError('half a library') from error\n"
        ),
    ],
)
def test_an_interrupt_during_the_imports_prints_no_traceback(
    tmp_path: Path, module: str, name: str
) -> None:
    # Stands in front of the real one, and is interrupted while it is imported.
    (tmp_path / name).write_text(module, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))

    ended = subprocess.run(
        [*PROGRAM, "versions"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        preexec_fn=interruptible,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


LOST = """
import os, signal, threading
from bertqa_cli import app, main

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        len("")  # The signal is handled in here, where Python ignores what is raised.

def work(arguments):
    Interrupted()
    threading.Event().wait()

app.main = work
main.run()
"""


def test_an_interrupt_in_a_finalizer_is_not_lost() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST],
        capture_output=True,
        text=True,
        preexec_fn=interruptible,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "interrupted\n")


def test_the_demo_is_interrupted_with_the_same_status(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "bertqa_cli.demo"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=interruptible,
        start_new_session=True,
    )
    assert process.stdout is not None
    while "bert-qa build" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: the demo and its command.
    process.communicate(timeout=120)

    assert process.returncode == 130


@pytest.mark.parametrize("arguments", [["--help"], ["versions"], ["versions", "--json"]])
def test_a_reader_that_goes_away_causes_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    write_published_version(tmp_path / "model_repository", 1)
    read, write = os.pipe()
    os.close(read)

    ended = subprocess.run(
        [*PROGRAM, *arguments],
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)

    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_reader_of_the_errors_that_goes_away_causes_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)

    ended = subprocess.run(
        [*PROGRAM, "versions"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=write, check=False
    )
    os.close(write)

    assert (ended.returncode, ended.stdout) == (1, b"")


@pytest.mark.parametrize(
    "encoding",
    ["ascii", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("latin-1", "cp1252"))],
)
def test_a_terminal_without_unicode_gets_codes_and_valid_json(
    tmp_path: Path, encoding: str
) -> None:
    write_published_version(tmp_path / "модель", 1)
    arguments = [*PROGRAM, "versions", "--repository", str(tmp_path / "модель")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}

    table, document, missing = (
        subprocess.run([*arguments, *more], capture_output=True, env=environment, check=False)
        for more in ([], ["--json"], ["--repository", "нет"])
    )

    assert (table.returncode, table.stderr) == (0, b"")
    assert json.loads(document.stdout.decode(encoding))["versions"][0]["version"] == 1
    assert missing.returncode == 1
    assert rb"error: There is no model repository \u043d\u0435\u0442" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "redirection", "status"),
    [
        ("versions --json", ">&-", 0),
        ("versions", ">&- 2>&-", 0),
        ("ask question -", "<&-", 2),
        ("ask --input in.csv --output -", ">&-", 2),
        ("versions", ">/dev/full", 1),
        ("versions --json", ">/dev/full", 1),
        ("serve --dry-run --engine local", ">/dev/full", 1),
    ],
)
def test_streams_that_are_closed_or_full_cause_no_traceback(
    tmp_path: Path, arguments: str, redirection: str, status: int
) -> None:
    write_published_version(tmp_path / "model_repository", 1)
    (tmp_path / "in.csv").write_text("question,context\nWho?,Anna\n")

    ended = subprocess.run(
        ["sh", "-c", f"{shlex.join(PROGRAM)} {arguments} {redirection}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert ended.returncode == status, ended.stderr
    assert "Traceback" not in ended.stderr
    assert (status == 0) == (ended.stderr == "")
