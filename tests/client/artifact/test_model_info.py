from __future__ import annotations

import base64
import zlib

import pytest

from bertqa.artifact import ModelInfo
from bertqa.artifact import _model_info as module
from bertqa.errors import NotAQAModelError
from tests.support.models import model_info, tokenizer_json

INFO = ModelInfo(
    tokenizer_json=tokenizer_json(),
    max_seq_len=384,
    doc_stride=128,
    precision="int8",
    source="tests",
    f1=75.5,
    exact_match=64.0,
    dataset="sample.json",
    toolchain="nncf 3",
)


def test_what_is_written_is_read() -> None:
    assert ModelInfo.from_rt_info(INFO.to_rt_info()) == INFO
    bare = model_info()
    assert ModelInfo.from_rt_info(bare.to_rt_info()) == bare
    assert all(isinstance(value, str) and value for value in bare.to_rt_info().values())


@pytest.mark.parametrize("key", module.REQUIRED_KEYS)
def test_a_missing_key_is_named(key: str) -> None:
    entries = {name: value for name, value in INFO.to_rt_info().items() if name != key}
    with pytest.raises(NotAQAModelError, match=f"lacks {key}"):
        ModelInfo.from_rt_info(entries)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokenizer_json", "no base64!"),
        ("tokenizer_json", base64.b64encode(b"not packed").decode()),
        ("tokenizer_json", base64.b64encode(zlib.compress(b"x" * 100)[:-4]).decode()),
        ("tokenizer_json", base64.b64encode(zlib.compress(b"\xff\xfe")).decode()),
        ("tokenizer_json", base64.b64encode(zlib.compress(b"{}")).decode()),
        ("tokenizer_sha256", "0" * 64),
        ("max_seq_len", "many"),
        ("f1", "good"),
    ],
)
def test_damage_is_noticed(key: str, value: str) -> None:
    with pytest.raises(NotAQAModelError, match="damaged"):
        ModelInfo.from_rt_info({**INFO.to_rt_info(), key: value})


def test_a_bomb_does_not_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENIZER_JSON_LIMIT", 1000)
    bomb = base64.b64encode(zlib.compress(b" " * 1_000_000)).decode()
    with pytest.raises(NotAQAModelError, match="longer than 1000 bytes"):
        ModelInfo.from_rt_info({**INFO.to_rt_info(), "tokenizer_json": bomb})
