from __future__ import annotations

from weakref import WeakValueDictionary

import pytest

from bertqa import QAClient
from bertqa.client import _model_registry
from tests.support.question_files import Counting


@pytest.fixture(autouse=True)
def no_tokenizer_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients of a test share tokenizers, and the texts that these keep, among them alone."""
    monkeypatch.setattr(_model_registry, "_in_use", WeakValueDictionary())


@pytest.fixture
def transport() -> Counting:
    """A model in this process that counts its requests."""
    return Counting()


@pytest.fixture
def client(transport: Counting) -> QAClient:
    """A client of it."""
    return QAClient(transport=transport, timeout=60)
