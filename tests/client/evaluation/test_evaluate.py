from __future__ import annotations

from dataclasses import replace

import pytest

from bertqa._progress import Progress
from bertqa.client import QAClient
from bertqa.evaluation import GoldAnswer, SquadDataset, SquadQuestion, evaluate
from bertqa.evaluation._evaluate import predict
from bertqa.qa import SquadDecoder
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info

CONTEXT = "Rouen is the capital of Normandy. The Normans came there in the 10th century. " * 12
TEXTS = ("What is the capital?", "Who came there?", "When did they come?")


@pytest.fixture
def qa() -> QAClient:
    info = model_info(max_seq_len=64, doc_stride=16)
    return QAClient(transport=InProcessTransport({1: info, 2: info}))


def own_answers(qa: QAClient, version: int) -> SquadDataset:
    """A data set in which the answers of a version are gold."""
    questions = []
    for number, text in enumerate(TEXTS):
        answer = qa.answer(text, CONTEXT, decoder=SquadDecoder(), version=version)
        gold = GoldAnswer(answer.text, answer.start)
        questions.append(SquadQuestion(str(number), text, CONTEXT, (gold,)))
    return SquadDataset("own.json", tuple(questions))


def test_a_version_is_scored_by_its_own_answers(qa: QAClient) -> None:
    dataset = own_answers(qa, version=2)
    events: list[Progress] = []
    scores = evaluate(qa, dataset, version=2, on_progress=events.append)
    assert (scores.f1, scores.exact_match, scores.questions) == (100, 100, 3)
    assert [(each.done, each.total) for each in events] == [(1, 3), (2, 3), (3, 3)]
    assert evaluate(qa, dataset, version=1).exact_match < 100


def test_no_answer_can_win_only_where_the_data_set_has_such_questions(qa: QAClient) -> None:
    class Doubtful(InProcessTransport):
        """Finds that [CLS] is by far the best start and end."""

        def infer(self, *arguments, **options):  # type: ignore[no-untyped-def]
            result = super().infer(*arguments, **options)
            for logits in result.outputs.values():
                logits[:, 0] = 100
            return result

    answerable = own_answers(qa, version=1)
    impossible = replace(
        answerable,
        questions=(*answerable.questions, SquadQuestion("none", "Why?", CONTEXT, ())),
    )
    info = model_info(max_seq_len=64, doc_stride=16)
    with QAClient(transport=Doubtful({1: info})) as doubtful:
        assert all(predict(doubtful, answerable).values())
        assert set(predict(doubtful, impossible).values()) == {""}
        assert evaluate(doubtful, impossible).exact_match == 25
