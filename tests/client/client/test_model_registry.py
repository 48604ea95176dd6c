"""What registries of several models have in common."""

from __future__ import annotations

from bertqa.client._model_registry import ModelRegistry
from tests.support.in_process import InProcessTransport


def test_models_with_the_same_tokenizer_share_one() -> None:
    metadata = InProcessTransport().metadata(version=None, timeout=5)
    first, second = (ModelRegistry().learn(None, metadata) for _ in range(2))
    assert first.tokenizer is second.tokenizer
