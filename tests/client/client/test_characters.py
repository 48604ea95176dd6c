"""What a reader takes for one character stays whole on every way of an answer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import regex

from bertqa import Answer, SquadDecoder
from bertqa.qa import Logits, Span, Window
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport
from tests.support.twins import Twins

# Accents and joiners that the tokenizer drops, at every place where an answer may end.
CONTEXT = (
    "Rene\u0301 and Zoe\u0308 met 👨\u200d👩\u200d👧 in Pe\u0301rouges\u0301, "
    "\u0915\u094d\u0937\u093f Noe\u0308l\u0303 and Ame\u0301\u200d said 👋🏽 a\u030a\r\n"
    "🇩🇪🇫🇷 Chloe\u0301"
)
EDGES = {0, *itertools.accumulate(len(each) for each in regex.findall(r"\X", CONTEXT))}


def assert_whole(answers: Sequence[Answer]) -> None:
    assert any(answer.text for answer in answers)
    for answer in answers:
        assert {answer.start, answer.end} <= EDGES, answer
        assert CONTEXT[answer.start : answer.end] == answer.text


@pytest.mark.parametrize(
    "options", [{}, {"align_to_words": False}, {"decoder": SquadDecoder(n_best=40)}], ids=str
)
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_answers_are_whole_over_both_protocols(
    open_client: Twins, server: Served, protocol: str, options: dict[str, Any]
) -> None:
    address = server.address() if protocol == "grpc" else {"url": server.rest_url}
    client = open_client(**address, timeout=250)

    assert_whole(client.answers("Who?", CONTEXT, top_k=40, **options))
    assert_whole(list(client.answer_many([("Who?", CONTEXT)] * 3, **options)))


def test_answers_of_a_model_in_this_process_are_whole(
    open_client: Twins, local_server: Served
) -> None:
    client = open_client.local(local_server.repository / "bert-qa" / "2")

    assert_whole(client.answers("Who?", CONTEXT, top_k=40))


@dataclass(frozen=True)
class Cutting:
    """A decoder of a user's own, which cuts the accent off a name."""

    def decode(
        self, context: str, windows: Sequence[Window], logits: Sequence[Logits], top_k: int
    ) -> list[Span]:
        return [Span(0, 4, 0.5), Span(0, 0, 0.1)]


def test_a_decoder_of_the_users_own_does_not_cut_either(open_client: Twins) -> None:
    client = open_client(transport=InProcessTransport())

    found = client.answers("Who?", CONTEXT, top_k=2, decoder=Cutting())

    assert [answer.text for answer in found] == ["Rene\u0301", ""]
