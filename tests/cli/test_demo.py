"""What `make demo` says about the speed of INT8."""

from __future__ import annotations

import pytest

from bertqa.artifact import _hardware
from bertqa_cli import demo


@pytest.mark.parametrize(
    ("flags", "seconds", "said"),
    [
        ({"avx512_vnni"}, (0.02, 0.01), "answers 2.0 times as fast (this CPU has avx512_vnni)"),
        (set(), (0.02, 0.01), "answers 2.0 times as fast."),
        ({"amx_int8"}, (0.01, 0.01), "not faster here: a context as short"),
        ({"avx2"}, (0.01, 0.02), "neither VNNI nor AMX: INT8 saves memory here, not time"),
    ],
)
def test_what_int8_gains_is_said_and_why_where_it_gains_nothing(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], seconds: tuple[float, float], said: str
) -> None:
    monkeypatch.setattr(_hardware, "cpu_flags", lambda: flags)
    assert said in demo._speed(*seconds)
