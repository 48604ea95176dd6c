"""The sizes that have names: each is the published model's, with random weights."""

from __future__ import annotations

import pytest
import torch

from bertqa_build.bench.architectures import ARCHITECTURES
from bertqa_build.bench.models import random_model
from bertqa_build.families import model_types

MILLIONS = {
    "minilm": 22,
    "bert-base": 108,
    "bert-large": 334,
    "roberta-base": 124,
    "distilbert-base": 66,
    "electra-base": 108,
    "albert-base": 11,
    "mpnet-base": 108,
    "deberta-v3-base": 183,
    "modernbert-base": 149,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_name_stands_for_a_model_of_the_published_size(name: str) -> None:
    with torch.device("meta"):
        model = random_model(name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters // 1_000_000 == MILLIONS[name]


def test_every_family_with_code_of_its_own_has_a_size() -> None:
    copies = {"camembert", "xlm-roberta"}
    measured = {model_type for model_type, _ in ARCHITECTURES.values()}
    assert measured == set(model_types()) - copies
