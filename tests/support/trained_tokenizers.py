"""Tokenizers of every kind, trained on the spot on a few sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

ENGLISH = (
    "The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, "
    "a region in France. Who? In what country is it located? When did they swear fealty to it?"
)
JAPANESE = "東京は日本の首都です。京都には古い寺が多くあります。富士山は日本で一番高い山です。"
ARABIC = "القاهرة هي عاصمة مصر. يقع نهر النيل في أفريقيا وهو أطول نهر."
THAI = "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย เชียงใหม่อยู่ทางภาคเหนือ"
CORPUS = (ENGLISH, JAPANESE, ARABIC, THAI, "Who? What? 東京 مصر ไทย")
VOCABULARY = 400

_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def _word_piece(special: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=special[special.index("[UNK]")]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(special), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _joined(tokenizer: Tokenizer, begin: str, between: str, end: str) -> Tokenizer:
    """Set a post-processor that numbers the tokens of the context 1."""
    special = dict.fromkeys([begin, *between.split(), end])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {between} $B:1 {end}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in special],
    )
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT's: `[CLS]` question `[SEP]` context `[SEP]`."""
    return _joined(_word_piece(_BERT), "[CLS]", "[SEP]", "[SEP]")


def word_piece_of_mpnet() -> Tokenizer:
    """As MPNet's: words as in BERT, joined as in RoBERTa."""
    tokenizer = _word_piece(("<s>", "<pad>", "</s>", "[UNK]", "<mask>"))
    return _joined(tokenizer, "<s>", "</s> </s>", "</s>")


def _byte_pairs(special: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_pairs() -> Tokenizer:
    """As RoBERTa's: `<s>` question `</s></s>` context `</s>`, all numbered 0."""
    tokenizer = _byte_pairs(_ROBERTA)
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=("</s>", tokenizer.token_to_id("</s>")),
        cls=("<s>", tokenizer.token_to_id("<s>")),
        trim_offsets=True,
        add_prefix_space=False,
    )
    return tokenizer


def byte_pairs_of_modernbert() -> Tokenizer:
    """As ModernBERT's: bytes as in RoBERTa, joined as in BERT; tokens begin with their space."""
    return _joined(_byte_pairs(_BERT), "[CLS]", "[SEP]", "[SEP]")


def _unigram(special: Sequence[str], unknown: str) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(" {2,}", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(special),
        unk_token=unknown,
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """As XLM-RoBERTa's and CamemBERT's."""
    return _joined(_unigram(_ROBERTA, "<unk>"), "<s>", "</s> </s>", "</s>")


def unigram_of_bert() -> Tokenizer:
    """As ALBERT's and DeBERTa-v3's: unigram, joined as in BERT."""
    return _joined(_unigram(_BERT, "[UNK]"), "[CLS]", "[SEP]", "[SEP]")


@functools.cache
def json_of(train: Callable[[], Tokenizer]) -> str:
    """The text of the `tokenizer.json`, trained once."""
    return str(train().to_str())
