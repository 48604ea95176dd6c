"""Tokenizers of checkpoints as they come: of every age, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer

from bertqa.qa import QATokenizer
from bertqa_build.errors import CheckpointError
from bertqa_build.tokenizer_file import load_tokenizer
from tests.support.trained_tokenizers import (
    CORPUS,
    ENGLISH,
    VOCABULARY,
    byte_pairs,
    json_of,
    word_piece,
)

# How the SentencePiece model of a family numbers its special tokens.
PIECES: dict[str, tuple[str, dict[str, Any]]] = {
    "xlm-roberta": ("sentencepiece.bpe.model", {}),
    "camembert": ("sentencepiece.bpe.model", {}),
    "albert": (
        "spiece.model",
        {
            "pad_id": 0,
            "unk_id": 1,
            "bos_id": -1,
            "eos_id": -1,
            "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
        },
    ),
    "deberta-v2": (
        "spm.model",
        {
            "pad_id": 0,
            "bos_id": 1,
            "eos_id": 2,
            "unk_id": 3,
            "pad_piece": "[PAD]",
            "bos_piece": "[CLS]",
            "eos_piece": "[SEP]",
            "unk_piece": "[UNK]",
        },
    ),
}


def write_config(folder: Path, model_type: str, **settings: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def refusal(folder: Path, vocabulary: int = VOCABULARY) -> str:
    with pytest.raises(CheckpointError) as raised:
        load_tokenizer(folder, "example", vocabulary)
    return str(raised.value)


@pytest.mark.parametrize(
    ("model_type", "train"),
    [("bert", word_piece), ("roberta", byte_pairs)],
    ids=["bert", "roberta"],
)
def test_a_vocabulary_becomes_the_tokenizer_that_it_was_made_of(
    tmp_path: Path, model_type: str, train: Any
) -> None:
    write_config(tmp_path, model_type)
    original = Tokenizer.from_str(json_of(train))
    original.model.save(str(tmp_path))
    made = QATokenizer.from_json(load_tokenizer(tmp_path, "example", VOCABULARY))
    expected = QATokenizer(original)
    for context in CORPUS:
        (one,), (other,) = (
            each.windows("Who? What?", context, max_seq_len=500) for each in (made, expected)
        )
        assert one.input_ids.tolist() == other.input_ids.tolist()
        assert one.offsets.tolist() == other.offsets.tolist()


@pytest.mark.parametrize("model_type", PIECES)
def test_a_sentencepiece_model_becomes_a_tokenizer(tmp_path: Path, model_type: str) -> None:
    name, settings = PIECES[model_type]
    write_config(tmp_path / "checkpoint", model_type)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(CORPUS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(tmp_path / "trained"),
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    model = tmp_path / "checkpoint" / name
    (tmp_path / "trained.model").rename(model)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))

    text = load_tokenizer(tmp_path / "checkpoint", "example", 2 * VOCABULARY)

    tokenizer = Tokenizer.from_str(text)
    is_albert = model_type == "albert"  # Its tokenizer drops case and accents.
    for context in [ENGLISH.lower()] if is_albert else CORPUS:
        tokens = tokenizer.encode(context, add_special_tokens=False).tokens
        assert tokens == pieces.encode(context, out_type=str)
    (window,) = QATokenizer.from_json(text).windows("Who?", ENGLISH, max_seq_len=500)
    inside = window.offsets[:, 0] >= 0
    words = {ENGLISH[begin:end] for begin, end in window.word_offsets[inside]}
    assert {"Normans", "Normandy", "people", "11th"} <= words


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "bert")
    message = refusal(tmp_path)
    assert "example has no tokenizer" in message
    assert "contains none of vocab.txt, vocab.json, merges.txt, *.model, tokenizer.json" in message


@pytest.mark.parametrize(
    ("model_type", "missing"),
    [("xlm-roberta", "sentencepiece.bpe.model"), ("roberta", "merges.txt or vocab.json")],
)
def test_a_vocabulary_of_another_kind_of_tokenizer_is_refused(
    tmp_path: Path, model_type: str, missing: str
) -> None:
    write_config(tmp_path, model_type)
    Tokenizer.from_str(json_of(word_piece)).model.save(str(tmp_path))
    assert f"cannot be read: there is no {missing}. It must be a tokenizer.json" in (
        refusal(tmp_path)
    )


def test_a_tokenizer_that_runs_in_python_alone_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "roberta", tokenizer_class="PhobertTokenizer")
    (tmp_path / "vocab.txt").write_text("the 10\n", encoding="utf-8")
    (tmp_path / "bpe.codes").write_text("t h 10\n", encoding="utf-8")
    assert "cannot be read: a PhobertTokenizer runs in Python alone" in refusal(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "xlm-roberta")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"no model")
    assert "sentencepiece.bpe.model is not a model of SentencePiece" in refusal(tmp_path)
    (tmp_path / "tokenizer.json").mkdir()
    assert "tokenizer.json cannot be read: Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("where", ["settings", "file"])
def test_a_tokenizer_that_pads_on_the_left_is_refused(tmp_path: Path, where: str) -> None:
    write_config(tmp_path, "bert", **({"padding_side": "left"} if where == "settings" else {}))
    tokenizer = Tokenizer.from_str(json_of(word_piece))
    if where == "file":
        tokenizer.enable_padding(direction="left")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert "pads on the left" in refusal(tmp_path)


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "bert")
    (tmp_path / "tokenizer.json").write_text(json_of(word_piece), encoding="utf-8")
    assert "its largest token id is" in refusal(tmp_path, vocabulary=100)
    whole = json.loads(json_of(word_piece))
    whole["post_processor"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    assert "sets no special token between question and context" in refusal(tmp_path)


def test_settings_that_contradict_the_tokenizer_are_refused(tmp_path: Path) -> None:
    settings: list[tuple[Any, dict[str, Any], str]] = [
        (word_piece, {"do_lower_case": False}, "do_lower_case is false in its tokenizer_config"),
        (word_piece, {"strip_accents": False}, "strip_accents is false in its tokenizer_config"),
        (word_piece, {"tokenize_chinese_chars": False}, "tokenize_chinese_chars is false in its"),
        (byte_pairs, {"add_prefix_space": True}, "add_prefix_space is true in its"),
    ]
    for train, changed, message in settings:
        write_config(tmp_path, "bert", **changed)
        (tmp_path / "tokenizer.json").write_text(json_of(train), encoding="utf-8")
        assert f"The tokenizer of example contradicts itself: {message}" in refusal(tmp_path)
    agreeing = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    write_config(tmp_path, "bert", **agreeing, add_prefix_space=False)
    for train in (word_piece, byte_pairs):
        (tmp_path / "tokenizer.json").write_text(json_of(train), encoding="utf-8")
        load_tokenizer(tmp_path, "example", VOCABULARY)


@pytest.mark.parametrize("where", ["settings", "file"])
def test_tokens_that_are_added_beside_the_tokenizer_are_refused(tmp_path: Path, where: str) -> None:
    def write(*tokens: tuple[str, int]) -> None:
        decoder = {str(number): {"content": token} for token, number in tokens}
        write_config(tmp_path, "bert", **({"added_tokens_decoder": decoder} if is_set else {}))
        if not is_set:
            (tmp_path / "added_tokens.json").write_text(json.dumps(dict(tokens)), encoding="utf-8")

    is_set = where == "settings"
    write(("[CLS]", 2))
    (tmp_path / "tokenizer.json").write_text(json_of(word_piece), encoding="utf-8")
    load_tokenizer(tmp_path, "example", VOCABULARY + 1)
    write(("[CLS]", 2), ("[NEW]", VOCABULARY))
    assert "lacks the token '[NEW]', which is added beside it" in (
        refusal(tmp_path, VOCABULARY + 1)
    )


def test_settings_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "bert")
    (tmp_path / "tokenizer.json").write_text(json_of(word_piece), encoding="utf-8")
    for content in ("{bad", "[]"):
        (tmp_path / "tokenizer_config.json").write_text(content, encoding="utf-8")
        message = "The tokenizer_config.json of the checkpoint example cannot be read"
        assert message in refusal(tmp_path)
    write_config(tmp_path, "bert", added_tokens_decoder=["[NEW]"])
    assert "The added tokens of the tokenizer of example cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenizer_class": "Unheard"}, "names the class Unheard, which transformers lacks"),
        ({"auto_map": {"AutoTokenizer": ["own.Own", None]}}, "it is code of the checkpoint's own"),
    ],
    ids=["unknown", "own"],
)
def test_a_tokenizer_of_a_class_that_is_not_there_is_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    write_config(tmp_path, "bert", **settings)
    Tokenizer.from_str(json_of(word_piece)).model.save(str(tmp_path))
    assert message in refusal(tmp_path)
