from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa._reason import check_finite, read_finite, reason_of
from bertqa.client import answer_file
from bertqa.errors import BertQAError
from bertqa.evaluation import follow_log, read_squad, report_on_log
from tests.support.in_process import InProcessTransport


def test_the_reason_does_not_repeat_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        (tmp_path / "absent.json").read_bytes()

    assert reason_of(raised.value) == "No such file or directory"
    assert reason_of(ValueError("not a number")) == "not a number"
    assert reason_of(OSError("no strerror")) == "no strerror"


def test_a_message_names_its_file_once(tmp_path: Path) -> None:
    path = tmp_path / "absent.jsonl"
    client = QAClient(transport=InProcessTransport())
    for read in (report_on_log, lambda path: answer_file(client, path, tmp_path / "out.csv")):
        with pytest.raises(BertQAError) as raised:
            read(path)
        assert str(raised.value) == f"{path} cannot be read: No such file or directory."


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full", "/dev/urandom"])
def test_a_device_is_refused_and_not_read_without_end(tmp_path: Path, device: str) -> None:
    client = QAClient(transport=InProcessTransport())
    link = tmp_path / "link.jsonl"
    link.symlink_to(device)
    for read in (
        report_on_log,
        lambda path: next(follow_log(path, 1)),
        read_squad,
        lambda path: answer_file(client, path, tmp_path / "out.csv"),
    ):
        for path in (Path(device), link):
            with pytest.raises(BertQAError) as raised:
                read(path)
            assert str(raised.value) == (
                f"{path} cannot be read: it is a device, and has to be a file or a pipe."
            )


def test_what_comes_to_an_end_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"text",))
    writer.start()
    assert read_finite(pipe) == b"text"
    writer.join()
    assert read_finite(Path(os.devnull)) == b""
    check_finite(io.BytesIO())
    main, terminal = os.openpty()
    try:
        with open(terminal, "rb", buffering=0, closefd=False) as file:
            check_finite(file)
    finally:
        os.close(terminal)
        os.close(main)
