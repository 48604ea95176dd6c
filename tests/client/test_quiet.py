from __future__ import annotations

import logging

import pytest

from bertqa._quiet import muted


def test_loggers_below_are_muted_also_where_they_have_a_level_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parent, child = logging.getLogger("noisy"), logging.getLogger("noisy.part")
    logging.getLogger("noisy.other")
    child.setLevel(logging.INFO)
    with muted("noisy"):
        child.info("a note")
        parent.error("a note")
        assert logging.getLogger("noisy.other").level == logging.NOTSET, "it follows its parent"
    assert caplog.messages == []
    child.info("heard again")
    assert caplog.messages == ["heard again"]
    assert parent.level == logging.NOTSET
