from __future__ import annotations

import gc
import signal

import pytest

from bertqa_cli.importing import uncollected


def test_nothing_is_collected_meanwhile_and_afterwards_again() -> None:
    found = []

    def load() -> None:
        with uncollected():
            found.append(gc.isenabled())
            raise ImportError

    with pytest.raises(ImportError):
        load()

    assert (found, gc.isenabled()) == ([False], True)


def test_an_interrupt_that_a_library_swallows_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertqa_cli.importing.noted", noted := [])

    with pytest.raises(KeyboardInterrupt), uncollected():
        noted.append(signal.SIGINT)


def test_what_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
