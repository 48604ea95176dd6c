from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bertqa.artifact import parse_split
from bertqa.errors import InvalidOptionError
from bertqa_cli.app import main
from bertqa_cli.errors import CommandError, refused_by_system
from bertqa_cli.values import Decimal, Whole, version_number, write_output
from bertqa_deploy.azureml.versions import parse_mirror
from tests.cli.conftest import Invoke
from tests.support.checkpoints import write_squad
from tests.support.files import unwritable

NOT_NUMBERS = ["٣", "１", "1_000", "+1", " 1", "1 ", "0x1", "1e3", "nan", "inf", "", "9" * 5000]
WITH_OUTPUT = {
    "bench": ("bench", "--plot"),
    "compare": ("compare", "1", "2", "--data", __file__, "--html"),
    "inspect": ("inspect", "1", "2", "--report"),
    "ask": ("ask", "--input", __file__, "--output"),
}


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_only_ascii_digits_are_a_number(text: str) -> None:
    for kind in (Whole(), Decimal()):
        with pytest.raises(click.BadParameter, match="is not a"):
            kind.convert(text, None, None)
    assert version_number(text) is None


@pytest.mark.parametrize("text", [*NOT_NUMBERS[:4], "0x1", "9" * 5000])
@pytest.mark.parametrize("parse", [lambda text: parse_split(f"{text}=100"), parse_mirror])
def test_nor_are_they_the_version_of_a_split(text: str, parse: Callable[[str], object]) -> None:
    with pytest.raises(InvalidOptionError, match="cannot be read"):
        parse(text)


def test_numbers_and_their_ranges() -> None:
    assert Whole(min=1).convert("12", None, None) == 12
    assert Decimal(min=0).convert("2.50", None, None) == 2.5
    assert (version_number("12"), version_number("0"), version_number("01")) == (12, None, None)
    with pytest.raises(click.BadParameter, match="not in the range"):
        Whole(min=1).convert("-1", None, None)
    with pytest.raises(click.BadParameter, match="not in the range"):
        Decimal(max=100).convert("100.1", None, None)


@pytest.mark.parametrize("arguments", [("--to", "１"), ("--step-timeout", " 1"), ("--steps", "٣")])
def test_an_option_names_itself(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    more = () if arguments[0] == "--to" else ("--to", "2")
    release = ("--release", "none") if arguments[0] == "--steps" else ()
    result = invoke("switch", *arguments, *more, *release)

    assert result.status in (1, 2)
    assert "Traceback" not in result.err


@pytest.mark.parametrize("name", ["٣", "１", "1_000", "+1", " 1", "0x1", "01", "0"])
def test_what_is_not_a_number_is_a_path_for_compare(invoke: Invoke, name: str) -> None:
    result = invoke("compare", "--data", str(Path(__file__)), name, "2")

    assert result.status != 0
    assert "Traceback" not in result.err


@pytest.mark.parametrize("verb", WITH_OUTPUT)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    invoke: Invoke, tmp_path: Path, verb: str
) -> None:
    arguments = WITH_OUTPUT[verb]

    for target, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "absent" / "file.csv", "there is no directory"),
        (Path(__file__) / "file.csv", "there is no directory"),
        (tmp_path / ("n" * 300), "File name too long"),
    ):
        result = invoke(*arguments, str(target))
        assert result.status == 2
        assert f"'{arguments[-1]}'" in result.err
        assert reason in result.err


def test_nor_is_one_where_nothing_may_be_written(invoke: Invoke, tmp_path: Path) -> None:
    with unwritable(tmp_path):
        result = invoke(*WITH_OUTPUT["inspect"], str(tmp_path / "page.html"))

    assert result.status == 2
    assert "permission denied" in result.err


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_output(pipe, "text")
        assert os.read(reader, 10) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_full_disk_is_a_sentence() -> None:
    with pytest.raises(CommandError, match="No space left"):
        write_output(Path("/dev/full"), "text")


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--data"),
        ("compare", "1", "2", "--data"),
        ("compare", "--from-log"),
        ("switch", "--to", "1", "--release", "r", "--data"),
        ("bench", "client", "--data"),
        ("build",),
        ("ask", "--output", "answers.csv", "--input"),
        ("ask", "question", "--context-file"),
        ("serve", "--ovms"),
    ],
)
def test_a_file_that_is_missing_or_a_directory_is_wrong_usage(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for path in (tmp_path / "absent", tmp_path, ""):
        result = invoke(*arguments, str(path))
        assert result.status == 2
        assert str(path) in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "--data"),
        ("compare", "--from-log"),
        ("bench", "client", "--data"),
        ("build",),
        ("ask", "--output", "-", "--input"),
        ("ask", "question", "--context-file"),
        ("serve", "http-api", "--tracks"),
        ("ask", "question", "--context", "c", "--token-file"),
    ],
)
def test_a_device_without_an_end_is_refused(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "/dev/zero")
    assert result.status in (1, 2)
    assert "/dev/zero" in result.err
    assert "device" in result.err or "not a file" in result.err


@pytest.mark.parametrize("arguments", [("question", "-"), ("--input", "-", "--output", "-")])
def test_a_device_without_an_end_is_refused_as_standard_input(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/zero").open(encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        result = invoke("ask", *arguments)
    assert result.status in (1, 2)
    assert "tandard input cannot be read: it is a device" in result.err


@pytest.mark.parametrize("arguments", [("--engine", "abacus"), ("--log-level", "LOUD")])
def test_an_unknown_choice_lists_the_choices(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke("serve", *arguments)

    assert result.status == 2
    assert "is not one of '" in result.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("evaluate", "--data", "absent.json"), 2),
        (("inspect", "1", "2", "--repository", "absent"), 1),
        (("nonsense",), 2),
        (("switch",), 2),
    ],
)
def test_a_failure_is_json_too(invoke: Invoke, arguments: tuple[str, ...], status: int) -> None:
    result = invoke(*arguments, "--json")

    assert result.status == status
    failure = json.loads(result.out)
    assert failure["status"] == status
    assert failure["error"] in result.err


def test_what_the_system_refuses_is_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError(errno.EIO, os.strerror(errno.EIO), "some/file")
    assert str(refused_by_system(error)) == (
        "The operating system reports: Input/output error (some/file)."
    )

    data = write_squad(tmp_path / "data.json")
    assert main(["compare", "n" * 300, "2", "--data", str(data)]) == 1
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("versions", "--repository"),
        ("versions", "--release"),
        ("bench", "--model"),
        ("bench", "client", "--url"),
        ("azureml", "delete", "--endpoint"),
    ],
)
def test_an_empty_option_is_refused(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "")

    assert result.status == 2
    assert f"'{arguments[-1]}': It is empty" in result.err


@pytest.mark.parametrize("name", ["../other", ".", "a\nb", "\x1b[31m"])
def test_what_cannot_be_a_models_name_is_refused(invoke: Invoke, name: str) -> None:
    result = invoke("versions", "--model", name)

    assert result.status == 2
    assert "is not the name of a model" in result.err


@pytest.mark.parametrize("verb", ["bench", "build"])
def test_a_work_directory_below_a_file_is_refused(invoke: Invoke, verb: str) -> None:
    recipe = (__file__,) if verb == "build" else ()
    result = invoke(verb, *recipe, "--work-dir", f"{__file__}/work")

    assert result.status == 2
    assert "is a file" in result.err


def test_control_characters_are_shown_not_obeyed(invoke: Invoke, tmp_path: Path) -> None:
    data = write_squad(tmp_path / "data.json")
    result = invoke("compare", "\x1b[31mred", "2", "--data", str(data))

    assert result.status == 2
    assert r"\x1b[31mred" in result.err
    assert "\x1b" not in result.err
