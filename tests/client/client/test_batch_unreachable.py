"""Files of questions that may not be read, and standard streams that are not there."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa.client import answer_file
from bertqa.errors import DataError, TokenizerError
from bertqa.evaluation import read_squad
from bertqa.qa import QATokenizer
from tests.support.in_process import InProcessTransport

_NOBODY = 65534
ROWS = "question,context\nWho?,Anna wrote it.\n"


@pytest.fixture
def client() -> QAClient:
    return QAClient(transport=InProcessTransport(), timeout=60)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """Yield a directory with a file, of which this process may read nothing."""
    directory = tmp_path / "locked"
    directory.mkdir()
    (directory / "in.csv").write_text(ROWS)
    directory.chmod(0)
    user = os.geteuid()
    if user == 0:  # Whom no mode keeps out.
        os.seteuid(_NOBODY)
    try:
        yield directory
    finally:
        os.seteuid(user)
        directory.chmod(0o700)


@pytest.mark.parametrize("name", ["", "in.csv", "in", "below/in.parquet"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_that_may_not_be_read_is_refused_with_the_reason(
    tmp_path: Path, client: QAClient, locked: Path, name: str, kind: type[str] | type[Path]
) -> None:
    source = kind(locked / name)

    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_squad(source)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        answer_file(client, source, tmp_path / "out.csv")


def test_a_tokenizer_that_may_not_be_read_is_not_said_to_be_missing(locked: Path) -> None:
    with pytest.raises(TokenizerError, match=r"in\.csv cannot be read: Permission denied"):
        QATokenizer.load(str(locked / "in.csv"))


def test_the_home_of_a_user_that_does_not_exist_is_a_file_that_does_not(
    tmp_path: Path, client: QAClient
) -> None:
    for source in ("~no-such-user/in.csv", "~no-such-user/in:train"):
        with pytest.raises(DataError, match=r"~no-such-user/in.* does not exist"):
            answer_file(client, source, tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("stream", "state"),
    [(None, "is closed"), (io.StringIO(ROWS), "is a StringIO, without bytes")],
)
def test_a_standard_stream_without_bytes_is_refused(
    tmp_path: Path,
    client: QAClient,
    monkeypatch: pytest.MonkeyPatch,
    stream: io.StringIO | None,
    state: str,
) -> None:
    source = tmp_path / "in.csv"
    source.write_text(ROWS)
    monkeypatch.setattr(sys, "stdin", stream)
    monkeypatch.setattr(sys, "stdout", stream)

    with pytest.raises(DataError, match=f"Standard input {state}: name a file"):
        answer_file(client, "-", tmp_path / "out.csv")
    with pytest.raises(DataError, match=f"Standard output {state}: name a file"):
        answer_file(client, source, "-")


def test_a_parquet_file_that_is_not_there_is_not_said_to_be_damaged(
    tmp_path: Path, client: QAClient
) -> None:
    with pytest.raises(DataError, match=r"in\.parquet cannot be read: No such file"):
        answer_file(client, tmp_path / "in.parquet", tmp_path / "out.csv")
