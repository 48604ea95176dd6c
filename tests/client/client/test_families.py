"""Versions of different families behind one name: other tokenizers, and other inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import ModelInfo
from bertqa.errors import NotAQAModelError, ProtocolError
from bertqa.transport import InferResult, Inputs, ModelMetadata
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, write_config, write_toy_version
from tests.support.questions import CONTEXT, QUESTION, pairs
from tests.support.trained_tokenizers import JAPANESE, byte_pairs, json_of
from tests.support.twins import Twins

ROBERTA = ModelInfo(json_of(byte_pairs), max_seq_len=256, doc_stride=64)
WITH_TYPES = ("input_ids", "attention_mask", "token_type_ids")
WITHOUT_TYPES = WITH_TYPES[:2]


@pytest.fixture(scope="module")
def server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Version 1 is a BERT, version 2 a RoBERTa, version 3 a BERT again, which is not served yet."""
    repository = tmp_path_factory.mktemp("repository")
    write_toy_version(repository, 1)
    write_toy_version(repository, 2, info=ROBERTA, token_types=False)
    write_config(repository)
    with Served(engine, repository) as server:
        yield server


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_each_version_is_asked_with_its_own_tokenizer_and_inputs(
    server: Served, scheme: str, open_client: Twins
) -> None:
    client = open_client(**server.address(scheme))
    for version in (1, 2, None):
        for context in (CONTEXT, JAPANESE):
            answer = client.answer(QUESTION, context, version=version)
            assert answer.model_version == (version or 2)
            assert context[answer.start : answer.end] == answer.text


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_traffic_is_split_between_families(server: Served, scheme: str, open_client: Twins) -> None:
    client = open_client(**server.address(scheme), traffic={1: 50, 2: 50})
    answers = list(client.answer_many(pairs(60)))
    assert set(Counter(answer.model_version for answer in answers)) == {1, 2}


class Mixed(InProcessTransport):
    """Serves versions of which some have no token types, and refuses inputs as a server does."""

    def __init__(self, versions: dict[int, ModelInfo], without_types: set[int]) -> None:
        super().__init__(versions)
        self.without_types = without_types

    def names(self, number: int) -> tuple[str, ...]:
        return WITHOUT_TYPES if number in self.without_types else WITH_TYPES

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        number = self._resolve(version)
        if tuple(inputs) != self.names(number):
            raise ProtocolError("Invalid number of inputs")
        whole = {**inputs, "token_type_ids": inputs["input_ids"] * 0}
        return super().infer(whole, version=version, timeout=timeout)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        found = super().metadata(version=version, timeout=timeout)
        inputs = dict.fromkeys(self.names(self._resolve(version)), "INT64")
        return ModelMetadata(found.name, found.versions, inputs, found.outputs, found.rt_info)


@pytest.mark.parametrize("newer_has_types", [False, True])
def test_a_default_version_of_another_family_is_met_while_asking(
    open_client: Twins, newer_has_types: bool
) -> None:
    old, new = (ROBERTA, model_info()) if newer_has_types else (model_info(), ROBERTA)
    transport = Mixed({1: old, 2: new}, {1} if newer_has_types else {2})
    both = transport.versions
    transport.versions = {1: old}
    client = open_client(transport=transport)
    assert client.answer(QUESTION, CONTEXT).model_version == 1
    transport.versions = both
    assert client.answer(QUESTION, CONTEXT).model_version == 2
    transport.versions = {1: old}
    answers = list(client.answer_many(pairs(40)))
    assert {answer.model_version for answer in answers} == {1}


def test_inputs_that_are_refused_for_another_reason_are_refused(open_client: Twins) -> None:
    class Strict(Mixed):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            raise ProtocolError("Invalid content")

    transport = Strict({1: model_info()}, set())
    client = open_client(transport=transport)
    with pytest.raises(ProtocolError, match="Invalid content"):
        client.answer(QUESTION, CONTEXT)
    assert transport.described == [None, None]


def test_an_input_that_no_client_can_fill_is_named(open_client: Twins) -> None:
    class Positions(InProcessTransport):
        def metadata(self, **options: Any) -> ModelMetadata:
            found = super().metadata(**options)
            inputs = {**found.inputs, "position_ids": "INT64"}
            return ModelMetadata(found.name, found.versions, inputs, found.outputs, found.rt_info)

    client = open_client(transport=Positions())
    with pytest.raises(NotAQAModelError, match="cannot fill its input 'position_ids'"):
        client.answer(QUESTION, CONTEXT)


def test_a_model_in_this_process_says_which_inputs_it_has(
    tmp_path: Path, open_client: Twins
) -> None:
    directory = write_toy_version(tmp_path, 1, info=ROBERTA, token_types=False)
    answer = open_client.local(directory).answer(QUESTION, JAPANESE)
    assert JAPANESE[answer.start : answer.end] == answer.text
