from __future__ import annotations

from typing import Any

import pytest

from bertqa.client._options import Settings
from bertqa.errors import InvalidOptionError
from bertqa.qa import PipelineDecoder, SquadDecoder


def test_the_pipelines_keywords_make_its_decoder() -> None:
    settings = Settings.of({"max_answer_len": 7, "align_to_words": False, "version": 2}, 5.0)
    assert settings.decoder == PipelineDecoder(max_answer_len=7, align_to_words=False)
    assert settings.version == 2
    assert settings.timeout == 5.0


def test_a_decoder_takes_the_place_of_the_pipelines() -> None:
    assert Settings.of({"decoder": SquadDecoder()}, 5.0).decoder == SquadDecoder()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_anwser_len": 3}, "no option max_anwser_len"),
        ({"topk": 3}, r"no option topk\. .*timeout, and top_k \(of answers.*headers \(of with"),
        ({"decoder": SquadDecoder(), "max_answer_len": 3}, "beside decoder="),
        ({"max_answer_len": 0}, "max_answer_len is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"version": 0}, "version is 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOptionError, match=text):
        Settings.of(options, 5.0)
