from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from bertqa.transport._background import AsyncCall, SyncCall


async def test_an_error_of_work_that_is_not_waited_for_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: reported.append(found))
    monkeypatch.setattr(threading, "excepthook", reported.append)
    began, in_thread = asyncio.Event(), threading.Event()

    async def fail() -> None:
        began.set()
        raise RuntimeError("It failed.")

    def fail_in_a_thread() -> None:
        in_thread.set()
        raise RuntimeError("It failed.")

    AsyncCall.start(fail)
    SyncCall.start(fail_in_a_thread)
    await began.wait()
    await asyncio.to_thread(in_thread.wait)
    for thread in threading.enumerate():
        if thread.name == "bertqa-look":
            await asyncio.to_thread(thread.join)
    gc.collect()
    assert reported == []
