"""What clients know of a model, and which of its versions they ask."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bertqa import AsyncQAClient, QAClient, QATokenizer
from bertqa.artifact import ModelInfo
from bertqa.client._local import ThreadedTransport
from bertqa.errors import (
    DeadlineExceededError,
    InvalidOptionError,
    ModelNotFoundError,
    ModelNotReadyError,
    NotAQAModelError,
    ProtocolError,
    VersionNotFoundError,
)
from bertqa.transport import (
    InferResult,
    Inputs,
    ModelMetadata,
)
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info, tokenizer_json
from tests.support.questions import CONTEXT, QUESTION, pairs
from tests.support.twins import Twins

LONG_CONTEXT = CONTEXT * 20


def cased_info() -> ModelInfo:
    """A model whose tokenizer differs: it keeps the case, so other tokens come out."""
    tokenizer = json.loads(tokenizer_json())
    tokenizer["normalizer"]["lowercase"] = False
    return ModelInfo(json.dumps(tokenizer), max_seq_len=384, doc_stride=128)


def test_a_length_that_a_model_of_unknown_limit_does_not_take_is_named(
    open_client: Twins,
) -> None:
    class Short(InProcessTransport):
        """Fails as a server does whose model has fewer positions."""

        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            raise ProtocolError("grpc://models:9000 failed: INTERNAL.", detail="Internal error")

    client = open_client(transport=Short(), tokenizer=QATokenizer.from_json(tokenizer_json()))
    with pytest.raises(ProtocolError, match=r"INTERNAL\. With tokenizer= .*: 1000 may be more"):
        client.answer(QUESTION, CONTEXT, max_seq_len=1000)
    with pytest.raises(ProtocolError, match=r"INTERNAL\.$"):
        client.answer(QUESTION, CONTEXT)
    with pytest.raises(ProtocolError, match=r"INTERNAL\.$"):
        open_client(transport=Short()).answer(QUESTION, CONTEXT, max_seq_len=100)


@pytest.mark.parametrize("many", [False, True])
def test_an_error_for_a_version_that_is_not_there_names_those_that_are(
    open_client: Twins, many: bool
) -> None:
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    client = open_client(transport=transport)

    def ask(version: int) -> None:
        if many:
            list(client.answer_many([(QUESTION, CONTEXT)] * 3, version=version))
        else:
            client.answer(QUESTION, CONTEXT, version=version)

    with pytest.raises(VersionNotFoundError, match=r"3\. Versions that are served: 1, 2\.$"):
        ask(3)
    ask(2)
    del transport.versions[2]
    with pytest.raises(VersionNotFoundError, match=r"2\. Versions that are served: 1\.$"):
        ask(2)


class Loading(InProcessTransport):
    """Refuses some requests, as a server that loads its models again."""

    refusals = 0

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        if self.refusals:
            self.refusals -= 1
            raise ModelNotReadyError("It is loading.")
        return super().infer(inputs, version=version, timeout=timeout)


def test_the_model_is_learnt_once(open_client: Twins) -> None:
    transport = InProcessTransport({1: model_info(), 2: model_info()})
    client = open_client(transport=transport)
    list(client.answer_many(pairs(60)))
    client.answer(QUESTION, CONTEXT, version=2)
    client.answer(QUESTION, CONTEXT, version=1)
    assert transport.described == [None, 1]


def test_a_model_that_is_gone_for_a_moment_is_waited_for_also_for_a_version_never_asked_before(
    open_client: Twins,
) -> None:
    class Restarting(InProcessTransport):
        refusals = 0

        def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
            if self.refusals:
                self.refusals -= 1
                raise ModelNotFoundError("It is not known yet.")
            return super().metadata(version=version, timeout=timeout)

    transport = Restarting({1: model_info(), 2: model_info()})
    client = open_client(transport=transport)
    assert client.answer(QUESTION, CONTEXT).model_version == 2
    transport.refusals = 3
    assert client.answer(QUESTION, CONTEXT, version=1).model_version == 1
    stranger = open_client(transport=transport)
    transport.refusals = 1
    with pytest.raises(ModelNotFoundError):
        stranger.answer(QUESTION, CONTEXT)


async def test_many_cold_questions_fetch_the_description_a_few_times() -> None:
    threaded, awaited = InProcessTransport(), InProcessTransport()
    with QAClient(transport=threaded) as client, ThreadPoolExecutor(200) as pool:
        list(pool.map(lambda _: client.answer(QUESTION, CONTEXT), range(200)))
    async with AsyncQAClient(transport=ThreadedTransport(awaited)) as other:
        await asyncio.gather(*(other.answer(QUESTION, CONTEXT) for _ in range(200)))
    for transport in (threaded, awaited):
        assert 1 <= len(transport.described) <= 8


def test_the_limits_of_the_model_hold(open_client: Twins) -> None:
    transport = InProcessTransport({1: model_info(max_seq_len=64, doc_stride=16)})
    client = open_client(transport=transport)
    client.answer(QUESTION, LONG_CONTEXT)
    assert max(tokens for _, (_, tokens) in transport.requests) == 64
    with pytest.raises(InvalidOptionError, match="takes at most 64 tokens"):
        client.answer(QUESTION, CONTEXT, max_seq_len=65)


def test_a_version_is_chosen_by_the_call_then_by_the_client(
    open_client: Twins, server: Served
) -> None:
    client = open_client(**server.address(), version=1)
    assert client.answer(QUESTION, CONTEXT).model_version == 1
    assert client.answer(QUESTION, CONTEXT, version=2).model_version == 2
    assert open_client(**server.address()).answer(QUESTION, CONTEXT).model_version == 2


def test_a_new_default_version_is_noticed_and_asked_with_its_own_tokenizer(
    open_client: Twins,
) -> None:
    transport = InProcessTransport()
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)
    transport.versions[2] = cased_info()

    answer = client.answer(QUESTION, CONTEXT)

    assert answer.model_version == 2
    assert answer == open_client(transport=transport).answer(QUESTION, CONTEXT)
    assert transport.described.count(2) == 1


class Restless(InProcessTransport):
    """Gets a new version, with another tokenizer, at each request."""

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        latest = max(self.versions)
        self.versions[latest + 1] = cased_info() if latest % 2 else model_info()
        return super().infer(inputs, version=version, timeout=timeout)


class Lost(InProcessTransport):
    """Some answers are of a version that goes at once."""

    going = 0

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        result = super().infer(inputs, version=version, timeout=timeout)
        if version is None and self.going:
            self.going -= 1
            return InferResult(result.outputs, 7)
        return result


def test_a_default_version_that_keeps_changing_is_asked_by_its_number(open_client: Twins) -> None:
    transport = Restless()
    answer = open_client(transport=transport).answer(QUESTION, CONTEXT)
    fresh = open_client(transport=InProcessTransport(transport.versions))
    assert answer == fresh.answer(QUESTION, CONTEXT, version=answer.model_version)


def test_a_default_version_that_keeps_going_is_given_up_at_the_deadline(
    open_client: Twins,
) -> None:
    transport = Lost()
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)  # The first one compiles and learns: it takes longer.
    transport.going = 1000
    with pytest.raises(ProtocolError, match="kept changing under one question"):
        client.answer(QUESTION, CONTEXT, timeout=1.0)


def test_a_deadline_in_the_middle_of_an_attempt_leaves_the_reason_for_the_attempts(
    open_client: Twins,
) -> None:
    class Late(Lost):
        """Answers too late after the first attempt."""

        def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
            if version == 7 and len(self.requests) > 2:
                raise DeadlineExceededError("There was no answer in time.")
            return super().metadata(version=version, timeout=timeout)

    transport = Late()
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)
    transport.going = 1000
    with pytest.raises(ProtocolError, match="kept changing under one question"):
        client.answer(QUESTION, CONTEXT, timeout=60)


def test_the_windows_of_one_answer_are_of_one_version(open_client: Twins) -> None:
    class Alternating(InProcessTransport):
        """Two versions share the requests that name none."""

        default = 1

        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            if version is None:
                self.default = version = 3 - self.default
            return super().infer(inputs, version=version, timeout=timeout)

    transport = Alternating({1: model_info(), 2: model_info()})
    client = open_client(transport=transport)
    context = CONTEXT * 100
    answers = [client.answer(QUESTION, context) for _ in range(4)]
    assert len(transport.requests) > 8
    for answer in answers:
        assert answer == client.answer(QUESTION, context, version=answer.model_version)


def test_an_answer_whose_version_is_not_to_be_found_again_is_asked_for_anew(
    open_client: Twins,
) -> None:
    transport = Lost()
    client = open_client(transport=transport)
    expected = client.answer(QUESTION, CONTEXT)
    transport.going = 1
    assert client.answer(QUESTION, CONTEXT) == expected
    transport.going = 1
    assert list(client.answer_many([(QUESTION, CONTEXT)] * 3, look_ahead=1)) == [expected] * 3


def test_a_stream_continues_through_a_version_switch(open_client: Twins) -> None:
    transport = InProcessTransport()
    client = open_client(transport=transport)

    def switching() -> Iterator[tuple[str, str]]:
        for number, pair in enumerate(pairs(120)):
            if number == 60:
                transport.versions[2] = cased_info()
            yield pair

    answers = list(client.answer_many(switching(), look_ahead=16))

    fresh = open_client(transport=transport)
    for answer, pair in zip(answers, pairs(120), strict=True):
        assert answer == fresh.answer(*pair, version=answer.model_version)
    assert {answer.model_version for answer in answers} == {1, 2}


def test_a_model_of_another_kind_is_refused_by_what_it_lacks(
    open_client: Twins,
) -> None:
    class Other(InProcessTransport):
        def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
            return ModelMetadata("resnet", (1,), {"image": "FP32"}, {"class": "FP32"}, {})

    with pytest.raises(NotAQAModelError, match=r"'resnet' .* no input 'input_ids', only image"):
        open_client(transport=Other()).answer(QUESTION, CONTEXT)


def test_a_model_without_a_tokenizer_can_be_given_one(open_client: Twins) -> None:
    class Silent(InProcessTransport):
        def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
            known = super().metadata(version=version, timeout=timeout)
            return ModelMetadata(known.name, known.versions, known.inputs, known.outputs, {})

    with pytest.raises(NotAQAModelError, match="lacks tokenizer_json"):
        open_client(transport=Silent()).answer(QUESTION, CONTEXT)
    from bertqa import QATokenizer

    client = open_client(transport=Silent(), tokenizer=QATokenizer.from_json(tokenizer_json()))
    expected = open_client(transport=InProcessTransport()).answer(QUESTION, CONTEXT)
    assert client.answer(QUESTION, CONTEXT) == expected


def test_traffic_is_split_and_a_key_is_sticky(open_client: Twins, server: Served) -> None:
    client = open_client(**server.address(), traffic={1: 50, 2: 50})
    answers = list(client.answer_many(pairs(80)))
    assert {answer.model_version for answer in answers} == {1, 2}
    keyed = {client.answer(QUESTION, CONTEXT, key="user-17").model_version for _ in range(8)}
    assert keyed == {1}
    assert client.answer(QUESTION, CONTEXT, key="user-18").model_version == 2
    assert client.answer(QUESTION, CONTEXT, key="user-18", version=1).model_version == 1


def test_a_model_that_is_loaded_again_is_waited_for(open_client: Twins) -> None:
    transport = Loading()
    client = open_client(transport=transport)
    transport.refusals = 1
    expected = client.answer(QUESTION, CONTEXT)
    transport.refusals = 3
    assert list(client.answer_many([(QUESTION, CONTEXT)] * 3, look_ahead=1)) == [expected] * 3
    transport.refusals = 1000
    with pytest.raises(ModelNotReadyError, match="It is loading"):
        client.answer(QUESTION, CONTEXT, timeout=0.5)


def test_a_stream_outlives_a_restart_however_long_its_questions_have_waited(
    open_client: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = Loading()
    client = open_client(transport=transport, timeout=30)
    client.answer(QUESTION, CONTEXT)
    clock = time.monotonic

    def slow_pairs() -> Iterator[tuple[str, str]]:
        yield QUESTION, CONTEXT
        # The first question waits for the second one longer than its timeout.
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 31)
        transport.refusals = 1
        yield QUESTION, CONTEXT

    assert len(list(client.answer_many(slow_pairs()))) == 2
