from __future__ import annotations

import pytest

from bertqa import QAClient
from tests.support.question_files import Counting


@pytest.fixture
def transport() -> Counting:
    """A model in this process that counts its requests."""
    return Counting()


@pytest.fixture
def client(transport: Counting) -> QAClient:
    """A client of it."""
    return QAClient(transport=transport, timeout=60)
