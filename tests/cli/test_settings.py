from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.models import write_published_version


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory below one with two repositories, of one and of two versions."""
    for name, count in (("one", 1), ("two", 2)):
        for version in range(1, count + 1):
            write_published_version(tmp_path / name, version)
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    return tmp_path


def count(invoke: Invoke, *arguments: str) -> int:
    return len(json.loads(invoke("versions", *arguments, "--json").out)["versions"])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("bertqa.toml", "repository = '../two'"),
        ("bertqa.toml", "[versions]\nrepository = '../two'\n[versions.show]\nmodel = 'other'"),
        ("pyproject.toml", "[tool.bertqa]\nrepository = '../two'"),
    ],
)
def test_the_nearest_file_sets_options_and_what_is_typed_goes_before(
    invoke: Invoke, folder: Path, file: str, text: str
) -> None:
    (folder / file).write_text(text, encoding="utf-8")

    assert count(invoke) == 2
    assert count(invoke, "--repository", "../one") == 1


def test_a_variable_goes_before_the_file(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    (folder / "bertqa.toml").write_text("url = 'http://127.0.0.1:1'", encoding="utf-8")
    monkeypatch.setenv("BERTQA_URL", f"http://127.0.0.1:{free_port}")

    assert f"Cannot connect to http://127.0.0.1:{free_port}" in invoke("versions").err


def test_the_variable_names_a_file_or_none(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bertqa.toml").write_text("repository = '../one'", encoding="utf-8")
    (folder / "other.toml").write_text("repository = '../two'", encoding="utf-8")

    monkeypatch.setenv("BERTQA_CONFIG", str(folder / "other.toml"))
    assert count(invoke) == 2
    monkeypatch.setenv("BERTQA_CONFIG", "")
    assert "no model repository model_repository" in invoke("versions").err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("repositry = 'x'", "'repositry' is not known in front of the tables"),
        (
            "[asck]\ntop-k = 1",
            "'asck' is not known in the tables, which are verbs. Did you mean",
        ),
        ("[versions]\nrepositori = 'x'", "not known in [versions]. Did you mean 'repository'?"),
        ("[versions]\nmodel = ''", "bertqa.toml"),
        ("url", "bertqa.toml is not TOML"),
        ("versions = 5", "'versions' is not known in front of the tables"),
        ("[versions]\nshow = 5", "'show' is not known in [versions]"),
        ("repository = 2026-01-01", "'repository' is 2026-01-01, and has to be a text or a number"),
        ("url = true", "'url' is true, and has to be a text"),
        ("token = ['secret']", "'token' is a list, and has to be a text"),
        ("header = [['a=b']]", "'header' is a list, and has to be a text or a number, or a list"),
        ("[versions]\njson = [1]", "'json' is a list, and has to be true or false"),
    ],
)
def test_what_cannot_be_a_setting_is_wrong_usage(
    invoke: Invoke, folder: Path, text: str, sentence: str
) -> None:
    (folder / "bertqa.toml").write_text(text, encoding="utf-8")

    result = invoke("versions")

    assert result.status == 2
    assert sentence in result.err


def test_a_token_that_is_typed_goes_before_a_token_file_of_the_settings(
    invoke: Invoke, folder: Path, free_port: int
) -> None:
    (folder / "token").write_text("secret", encoding="utf-8")
    (folder / "bertqa.toml").write_text(
        f"url = 'http://127.0.0.1:{free_port}'\ntoken-file = '../token'", encoding="utf-8"
    )

    assert "Cannot connect" in invoke("versions", "--token", "other").err
    both = invoke("versions", "--token", "other", "--token-file", "../token")
    assert (both.status, "and not both" in both.err) == (2, True)


def test_a_directory_above_that_may_not_be_searched_has_no_settings(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.is_file

    def is_file(path: Path, **_: bool) -> bool:
        if path.parent == folder and path.suffix == ".toml":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)

    assert count(invoke, "--repository", "../one") == 1


def test_a_number_is_read_as_if_it_were_typed(invoke: Invoke, folder: Path) -> None:
    (folder / "bertqa.toml").write_text("[serve]\nport = 9000.5", encoding="utf-8")
    result = invoke("serve", "--repository", "../one", "--dry-run")
    assert (result.status, "'9000.5' is not a whole number" in result.err) == (2, True)

    (folder / "bertqa.toml").write_text("[serve]\nport = 9123", encoding="utf-8")
    assert "--port 9123" in invoke("serve", "--repository", "../one", "--dry-run").out


def test_one_text_is_a_list_of_one(invoke: Invoke, folder: Path) -> None:
    (folder / "bertqa.toml").write_text("header = 'nothing'", encoding="utf-8")

    assert "The value of --header number 1" in invoke("ask", "q", "--context", "c").err


@pytest.mark.parametrize(
    ("text", "status"), [("tool = 1", 0), ("[tool]\nother = 1", 0), ("[tool]\nbertqa = 1", 2)]
)
def test_a_project_without_the_table_sets_nothing(
    invoke: Invoke, folder: Path, text: str, status: int
) -> None:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")

    result = invoke("versions", "--repository", "../two")

    assert result.status == status
    assert ("has to be a table, [tool.bertqa]" in result.err) == bool(status)


def test_an_option_with_the_name_of_a_verb_below_is_set(invoke: Invoke, folder: Path) -> None:
    (folder / "bertqa.toml").write_text("[serve]\nhttp-api = false", encoding="utf-8")

    result = invoke("serve", "--repository", "../one", "--http-port", "8181", "--dry-run")

    assert (result.status, "--no-http-api leaves out" in result.err) == (2, True)
