"""Questions that a second version answers too, for both clients."""

from __future__ import annotations

import threading

import pytest

from bertqa import Answer, BertQAError
from bertqa.errors import (
    VersionNotFoundError,
)
from bertqa.transport import (
    InferResult,
    Inputs,
)
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.questions import CONTEXT, QUESTION, pairs
from tests.support.twins import Twins


def test_a_shadow_gets_a_copy_and_both_answers_are_handed_over(
    open_client: Twins, server: Served
) -> None:
    seen: list[tuple[Answer, Answer | BertQAError]] = []
    client = open_client(
        **server.address(), version=1, shadow=2, on_shadow=lambda *both: seen.append(both)
    )
    answer = client.answer(QUESTION, CONTEXT)
    client.close()
    assert answer.model_version == 1
    ((first, second),) = seen
    assert first == answer
    assert isinstance(second, Answer)
    assert second.model_version == 2


def test_a_shadow_or_callback_that_fails_leaves_the_answers_alone(
    open_client: Twins, server: Served
) -> None:
    seen: list[Answer | BertQAError] = []

    def on_shadow(answer: Answer, shadow: Answer | BertQAError) -> None:
        seen.append(shadow)
        raise RuntimeError("a mistake of the user's")

    client = open_client(**server.address(), shadow=9, on_shadow=on_shadow)
    assert len(list(client.answer_many(pairs(5)))) == 5
    client.close()
    assert [type(error) for error in seen] == [VersionNotFoundError] * 5


def test_a_shadow_that_fails_unexpectedly_is_logged_and_the_client_closes(
    open_client: Twins, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            if version == 2:
                raise RuntimeError("a fault of the transport's")
            return super().infer(inputs, version=version, timeout=timeout)

    seen: list[Answer] = []
    transport = Faulty({1: model_info(), 2: model_info()})
    client = open_client(
        transport=transport, version=1, shadow=2, on_shadow=lambda answer, _: seen.append(answer)
    )
    assert client.answer(QUESTION, CONTEXT).model_version == 1
    client.close()
    assert transport.closed
    assert not seen
    (record,) = [each for each in caplog.records if each.name.startswith("bertqa")]
    assert "shadow" in record.message
    assert record.exc_text is not None
    assert "a fault of the transport's" in record.exc_text


def test_a_shadow_that_ends_its_thread_or_task_is_logged(
    open_client: Twins, caplog: pytest.LogCaptureFixture
) -> None:
    class Panic(BaseException):
        """As an extension module raises it; SystemExit would end an event loop."""

    class Ending(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            if version == 2:
                raise Panic("a library's")
            return super().infer(inputs, version=version, timeout=timeout)

    transport = Ending({1: model_info(), 2: model_info()})
    client = open_client(transport=transport, version=1, shadow=2, on_shadow=lambda *_: None)
    assert client.answer(QUESTION, CONTEXT).model_version == 1
    client.close()
    assert transport.closed
    assert caplog.text.count("The shadow of a question ended unexpectedly") == 1


def test_a_shadow_does_not_delay_the_answer(open_client: Twins) -> None:
    gate = threading.Event()

    class Slow(InProcessTransport):
        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            if version == 2:
                gate.wait(60)
            return super().infer(inputs, version=version, timeout=timeout)

    seen: list[Answer] = []
    transport = Slow({1: model_info(), 2: model_info()})
    client = open_client(
        transport=transport, version=1, shadow=2, on_shadow=lambda answer, _: seen.append(answer)
    )
    answers = [client.answer(QUESTION, CONTEXT) for _ in range(3)]
    assert not seen
    gate.set()
    client.close()
    assert seen == answers
