from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bertqa import Answer, AsyncQAClient, QAClient
from bertqa.client import Recorder
from bertqa.errors import InvalidOptionError, VersionNotFoundError
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

ANSWER = Answer("The Berg", 0, 8, 0.5, 1)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_texts_are_hashed_unless_they_are_wanted_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "log"
    Recorder(path).record("Who?", "It was Berg.", ANSWER, 0.25)
    assert "Who" not in path.read_text()
    assert "Berg" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    Recorder(path, clear=True).record("Who?", "It was Berg.", ANSWER, 0.25)
    hashed, clear = lines(path)
    assert clear["question"] == "Who?"
    assert clear["answer"] == {"version": 1, "text": "The Berg", "score": 0.5, "seconds": 0.25}
    assert clear["context"] == hashed["context"]


def test_hashes_of_the_same_answer_are_equal_and_a_key_changes_them(tmp_path: Path) -> None:
    path = tmp_path / "log"
    alike = Answer("berg", 3, 7, 0.4, 2)
    Recorder(path).record("Who?", "c", ANSWER, shadow=alike)
    Recorder(path, key=b"secret").record("Who?", "c", ANSWER, shadow=alike)
    plain, keyed = lines(path)
    assert plain["answer"]["text"] == plain["shadow"]["text"] != keyed["answer"]["text"]


def test_the_sample_is_of_questions_and_the_same_wherever_they_are_asked(tmp_path: Path) -> None:
    for name in ("one", "two"):
        recorder = Recorder(tmp_path / name, sample=0.3, clear=True)
        for number in range(400):
            recorder.record(f"Question {number}?", "c", ANSWER)
    one, two = ([each["question"] for each in lines(tmp_path / name)] for name in ("one", "two"))
    assert one == two
    assert 80 < len(one) < 160


def test_an_answer_without_text_stays_recognisable(tmp_path: Path) -> None:
    path = tmp_path / "log"
    Recorder(path).record("Who?", "c", Answer("", 0, 0, 0.9, 1))
    assert lines(path)[0]["answer"]["text"] == ""


def test_what_cannot_be_recorded_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="cannot be written"):
        Recorder(tmp_path)
    with pytest.raises(InvalidOptionError, match=r"sample is 1\.5"):
        Recorder(tmp_path / "log", sample=1.5)
    with pytest.raises(InvalidOptionError, match="65 bytes"):
        Recorder(tmp_path / "log", key=b"k" * 65)


def test_as_a_context_manager_it_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Recorder(path) as recorder:
        recorder.record("Who?", "c", ANSWER)
    recorder.record("Where?", "c", ANSWER)
    assert len(lines(path)) == 1


def test_a_full_disk_does_not_get_in_the_way(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder("/dev/full")
    recorder.record("Who?", "c", ANSWER)
    recorder.record("Who?", "c", ANSWER)
    assert len([each for each in caplog.records if "not recorded" in each.message]) == 1


async def test_both_clients_record_answers_and_shadows(tmp_path: Path) -> None:
    for name in ("sync", "async"):
        transport = InProcessTransport({1: model_info(), 2: model_info()})
        recorder = Recorder(tmp_path / name, clear=True)
        pair = ("When?", "It was in 1932.")
        if name == "sync":
            with QAClient(transport=transport, version=1, recorder=recorder) as client:
                client.answer(*pair)
                list(client.answer_many([pair]))
            with QAClient(transport=transport, version=1, shadow=2, recorder=recorder) as client:
                client.answer(*pair)
            with QAClient(transport=transport, version=1, shadow=9, recorder=recorder) as client:
                client.answer(*pair)
        else:
            for shadow in (None, 2, 9):
                async with AsyncQAClient(
                    transport=_Async(transport), version=1, recorder=recorder, shadow=shadow
                ) as client:
                    await client.answer(*pair)
                    if shadow is None:
                        [each async for each in client.answer_many([pair])]
        alone, streamed, shadowed, failed = lines(tmp_path / name)
        assert alone["answer"]["version"] == streamed["answer"]["version"] == 1
        assert alone["answer"]["seconds"] > 0
        assert "seconds" not in streamed["answer"]
        assert "shadow" not in alone
        assert shadowed["shadow"]["version"] == 2
        assert shadowed["shadow"]["seconds"] > 0
        assert failed["shadow"] == {"error": VersionNotFoundError.__name__}


class _Async:
    """The in-process transport, awaited."""

    def __init__(self, transport: InProcessTransport) -> None:
        self._transport = transport

    async def infer(self, *arguments: Any, **options: Any) -> Any:
        return self._transport.infer(*arguments, **options)

    async def metadata(self, **options: Any) -> Any:
        return self._transport.metadata(**options)

    async def close(self) -> None:
        self._transport.close()
