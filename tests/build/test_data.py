import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from bertqa.qa import QATokenizer
from bertqa_build.data import (
    NO_ANSWER,
    TrainingWindows,
    collate,
    training_windows,
)
from tests.support.checkpoints import QUESTIONS, write_squad
from tests.support.models import tokenizer_json
from tests.support.trained_tokenizers import byte_pairs, json_of, unigram


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    return write_squad(tmp_path / "squad.json")


def windows(
    squad: Path, seed: int = 0, max_seq_len: int = 128, doc_stride: int = 16
) -> TrainingWindows:
    return training_windows(
        list(read_squad(squad)),
        tokenizer_json(),
        max_seq_len=max_seq_len,
        doc_stride=doc_stride,
        max_question_len=32,
        seed=seed,
    )


def text_of(window: dict[str, object], start: int, end: int) -> str:
    ids = np.asarray(window["input_ids"])[start : end + 1]
    return str(Tokenizer.from_str(tokenizer_json()).decode(ids.tolist()))


def test_every_gold_answer_is_found_among_the_tokens(squad: Path) -> None:
    made = windows(squad)
    assert len(made) == len(QUESTIONS)
    for window, golds in zip(made.windows, QUESTIONS.values(), strict=True):
        found = [text_of({"input_ids": window.input_ids}, *span) for span in window.spans]
        assert found == [gold.lower() for gold in golds]


def test_no_answer_is_the_first_token(squad: Path) -> None:
    unanswerable = windows(squad)[len(QUESTIONS) - 1]
    assert (unanswerable["start_positions"], unanswerable["end_positions"]) == NO_ANSWER


def test_a_long_context_has_windows_of_which_some_hold_the_answer(tmp_path: Path) -> None:
    squad = write_squad(tmp_path / "squad.json", questions=["To whom did they swear fealty?"])
    made = windows(squad, max_seq_len=40, doc_stride=4)
    assert len(made) == 2
    assert not made.windows[0].spans
    assert made.windows[-1].spans
    for index, window in enumerate(made.windows):
        assert len(window.input_ids) <= 40
        item = made[index]
        if not window.spans:
            assert (item["start_positions"], item["end_positions"]) == NO_ANSWER


def test_answers_are_placed_in_any_script(tmp_path: Path) -> None:
    context = "  Der Preis — 300 €! — „Čapek“ 🤖 erfand das Wort; 東京は首都です。"
    answers = ["Čapek", "東京", "300 €"]
    qas = [
        {
            "id": str(n),
            "question": "Was?",
            "answers": [{"text": a, "answer_start": context.index(a)}],
        }
        for n, a in enumerate(answers)
    ]
    path = tmp_path / "squad.json"
    document = {"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    made = windows(path)
    tokens = QATokenizer.from_json(tokenizer_json()).windows("Was?", context)[0]
    for window, answer in zip(made.windows, answers, strict=True):
        (first, last), *_ = window.spans
        assert context[tokens.offsets[first, 0] : tokens.offsets[last, 1]] == answer


def test_each_epoch_draws_one_of_several_answers_by_the_seed(squad: Path) -> None:
    def drawn(seed: int) -> list[object]:
        made = windows(squad, seed)
        starts = []
        for epoch in range(20):
            made.set_epoch(epoch)
            starts.append(made[0]["start_positions"])
        return starts

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) == len(set(QUESTIONS["In what country is Normandy located?"]))


def test_the_order_follows_seed_and_epoch_and_groups_lengths(tmp_path: Path) -> None:
    made = windows(write_squad(tmp_path / "squad.json", copies=20), max_seq_len=48)
    sampler = made.sampler(4)
    first = list(sampler)
    assert sorted(first) == list(range(len(made)))
    assert first == list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    lengths = np.array([len(made.windows[index].input_ids) for index in first])
    spread = [np.ptp(lengths[start : start + 4]) for start in range(0, len(first), 4)]
    assert np.mean(spread) < 1


def test_a_batch_is_padded_to_one_length(squad: Path) -> None:
    made = windows(squad)
    batch = collate([made[0], made[1]])
    tokens = len(made.windows[0].input_ids)
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["input_ids"].shape[1] % 16 == 0
    assert batch["attention_mask"][0].sum() == tokens
    assert not batch["input_ids"][0, tokens:].any()
    assert batch["start_positions"].shape == (2,)
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_limit_draws_windows_by_the_seed(tmp_path: Path) -> None:
    questions = list(read_squad(write_squad(tmp_path / "squad.json", copies=10)))

    def ids(seed: int) -> list[list[int]]:
        made = training_windows(
            questions,
            tokenizer_json(),
            max_seq_len=128,
            doc_stride=16,
            max_question_len=32,
            max_windows=7,
            seed=seed,
        )
        return [window.input_ids.tolist() for window in made.windows]

    assert len(ids(0)) == 7
    assert ids(0) == ids(0)
    assert ids(0) != ids(1)


def test_a_training_set_without_questions_is_refused() -> None:
    with pytest.raises(DataError, match="no question to train or to calibrate on"):
        training_windows(
            [], tokenizer_json(), max_seq_len=64, doc_stride=16, max_question_len=8, seed=0
        )


def test_a_question_that_fills_the_window_is_refused_by_its_id(tmp_path: Path) -> None:
    squad = write_squad(tmp_path / "squad.json")
    document = json.loads(squad.read_text(encoding="utf-8"))
    document["data"][0]["paragraphs"][0]["qas"][2]["question"] = "why " * 70
    squad.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(DataError, match=r"question 0-2 has 70 tokens.* 64"):
        windows(squad, max_seq_len=64)


ACCENT, HIDDEN, FAMILY = "\u0301", "\u200b", "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("context", "answer", "kept"),
    [
        (f"He is Rene{ACCENT}", f"Rene{ACCENT}", "Rene"),
        (f"He is Rene{ACCENT}", "Rene", "Rene"),
        (f"{HIDDEN}Rouen is a town", f"{HIDDEN}Rouen", "Rouen"),
        (f"{ACCENT}Rouen is a town", f"{ACCENT}Rouen", "Rouen"),
        (f"It is Rouen{HIDDEN}", f"Rouen{HIDDEN}", "Rouen"),
        (f"It is Rouen{HIDDEN} ", f"Rouen{HIDDEN} ", "Rouen"),
        (f"Who? {FAMILY}", "👨", FAMILY),
        (f"{FAMILY} it is", "👧", FAMILY),
        (f"Rene{ACCENT} is he", f"e{ACCENT}", "Rene"),
    ],
)
def test_a_gold_answer_at_the_edge_is_an_answer_whatever_the_tokenizer_drops(
    tmp_path: Path, context: str, answer: str, kept: str
) -> None:
    made = windows(_one_answer(tmp_path, context, answer))
    tokens = QATokenizer.from_json(tokenizer_json()).windows("Was?", context)[0]
    ((first, last),) = made.windows[0].spans
    assert context[tokens.word_offsets[first, 0] : tokens.word_offsets[last, 1]] == kept


def test_an_edge_of_a_window_is_not_the_edge_of_an_answer(tmp_path: Path) -> None:
    context = "a b c d e f g h i j k l Rene" + ACCENT
    made = windows(_one_answer(tmp_path, context, context[2:]), max_seq_len=14, doc_stride=2)
    assert len(made) > 1
    assert not any(window.spans for window in made.windows)
    assert made.labels.cut == ("1",)


def test_a_question_whose_whole_answer_the_tokenizer_drops_teaches_nothing(
    tmp_path: Path,
) -> None:
    path = _one_answer(tmp_path, f"Rouen {HIDDEN} is a town", HIDDEN)
    write_squad(tmp_path / "more.json")
    questions = [*read_squad(path), *read_squad(tmp_path / "more.json")]
    made = training_windows(
        questions, tokenizer_json(), max_seq_len=128, doc_stride=16, max_question_len=32, seed=0
    )
    assert len(made) == len(QUESTIONS)
    assert (made.labels.questions, made.labels.windows) == (1 + len(QUESTIONS), len(QUESTIONS))
    assert (made.labels.dropped, made.labels.cut) == (("1",), ())
    assert made.labels.without_answer == 1


def _one_answer(folder: Path, context: str, answer: str) -> Path:
    gold = {"text": answer, "answer_start": context.index(answer)}
    qas = [{"id": "1", "question": "Was?", "answers": [gold]}]
    path = folder / "one.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}))
    return path


@pytest.mark.parametrize("train", [unigram, byte_pairs], ids=lambda train: train.__name__)
def test_no_label_is_on_a_token_of_white_space(
    train: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    path = _one_answer(tmp_path, "It is 😀😁 here.", "is")
    made = training_windows(
        read_squad(path).questions,
        json_of(train),
        max_seq_len=64,
        doc_stride=16,
        max_question_len=16,
        seed=0,
    )
    ids = made[0]["input_ids"]
    tokens = [Tokenizer.from_str(json_of(train)).id_to_token(int(number)) for number in ids]
    for label in ("start_positions", "end_positions"):
        assert tokens[int(made[0][label])] not in ("▁", "Ġ")
