"""The HTTP API on loopback, in a thread of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from bertqa import AsyncQAClient
from bertqa.qa import QATokenizer
from bertqa_serve.http_api import Backend, HttpApiOptions, SideBySide, System, create_app
from bertqa_serve.http_api.connections import listener
from bertqa_serve.http_api.server import uvicorn_config
from tests.support.engines import Served
from tests.support.held import HeldTransport
from tests.support.models import model_info, tokenizer_json
from tests.support.web import LOOPBACK, running

CONTEXT = "The bridge over the river was designed by Anna Berg, and opened in 1932."
QUESTION = "When was the bridge opened?"
ONE = {"question": QUESTION, "context": CONTEXT}
HUGGING_FACE = {"inputs": ONE}


@contextmanager
def serving(options: HttpApiOptions, backend: Backend | None = None) -> Iterator[str]:
    """Serve inside the block, and yield the address."""
    opened = listener(LOOPBACK, 0)
    options = replace(options, drain_seconds=2)
    config = uvicorn_config(partial(create_app, options, backend), options)
    with running(config, [opened]):
        yield f"http://{LOOPBACK}:{opened.getsockname()[1]}"


def options_for(served: Served, **settings: Any) -> HttpApiOptions:
    """Return options in front of a server; `client` adds to the arguments of the client."""
    client = {**served.address(), "traffic": "auto", **settings.pop("client", {})}
    return HttpApiOptions(client=client, **settings)


class Held:
    """The HTTP API in front of models whose requests wait until a test lets them through."""

    def __init__(self, **settings: Any) -> None:
        tokenizer = QATokenizer.from_json(tokenizer_json())
        self.transport: HeldTransport | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._is_ended = False

        async def now() -> None:
            self.loop = asyncio.get_running_loop()

        def opened() -> AsyncQAClient:
            self.transport = HeldTransport({1: model_info(), 2: model_info()})
            return AsyncQAClient(transport=self.transport, tokenizer=tokenizer)

        class Backed(SideBySide):
            async def open(self) -> None:
                await now()
                await super().open()

        self.backend = Backed([System("held", opened, None, 1)], "bert-qa")
        self._serving = serving(HttpApiOptions(**{"client": {}, **settings}), self.backend)

    @property
    def requests(self) -> HeldTransport:
        """What came of the requests."""
        assert self.transport is not None
        return self.transport

    def hold(self) -> None:
        """Have requests wait from now on."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.requests.open.clear)

    def let_through(self) -> None:
        """Answer what waits."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.requests.open.set)

    def __enter__(self) -> Held:
        self.url = self._serving.__enter__()
        self.requests.sent.clear()
        return self

    def end(self) -> None:
        """End the service, whatever waits."""
        self._serving.__exit__(None, None, None)
        self._is_ended = True

    def __exit__(self, *details: Any) -> None:
        if not self._is_ended:
            self.let_through()
            self._serving.__exit__(*details)
