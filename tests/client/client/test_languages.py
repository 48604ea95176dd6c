"""Versions with every kind of tokenizer behind one name answer in any language, exactly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bertqa import SquadDecoder
from bertqa.artifact import ModelInfo
from tests.support.engines import Served
from tests.support.languages import QUESTIONS
from tests.support.models import model_that_knows, write_config, write_version
from tests.support.trained_tokenizers import (
    byte_pairs,
    byte_pairs_of_modernbert,
    json_of,
    unigram,
    word_piece,
)
from tests.support.twins import Twins

KINDS = {1: word_piece, 2: byte_pairs, 3: byte_pairs_of_modernbert, 4: unigram}
both_protocols = pytest.mark.parametrize("scheme", ["grpc", "http"])


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    repository = tmp_path_factory.mktemp("repository")
    for version, train in KINDS.items():
        info = ModelInfo(json_of(train), max_seq_len=256, doc_stride=16)
        ir = model_that_knows(QUESTIONS, info, token_types=train is word_piece)
        write_version(repository, version, ir, info)
    write_config(repository)
    with Served(engine, repository) as server:
        yield server


@both_protocols
def test_each_kind_of_tokenizer_answers_in_each_language(
    server: Served, scheme: str, open_client: Twins
) -> None:
    client = open_client(**server.address(scheme))
    for version in KINDS:
        for question, context, expected in QUESTIONS:
            for decoder in (None, SquadDecoder()):
                answer = client.answer(question, context, version=version, decoder=decoder)
                assert (answer.text, answer.model_version) == (expected, version)
                assert answer.start == context.index(expected)
                assert answer.end == answer.start + len(expected)


@both_protocols
def test_a_stream_in_all_languages_is_split_between_all_kinds(
    server: Served, scheme: str, open_client: Twins
) -> None:
    client = open_client(**server.address(scheme), traffic=dict.fromkeys(KINDS, 25))
    pairs = [(question, context) for question, context, _ in QUESTIONS] * 20
    answers = list(client.answer_many(pairs))
    assert [answer.text for answer in answers] == [expected for *_, expected in QUESTIONS] * 20
    assert {answer.model_version for answer in answers} == set(KINDS)
