"""The two clients behind one face, so that one test holds for both."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

from bertqa import Answer, AsyncQAClient, BertQAError, QAClient
from bertqa.client._local import ThreadedTransport

T = TypeVar("T")
Pairs = Iterable[tuple[str, str]]


class AsyncFace:
    """An `AsyncQAClient` in an event loop of its own."""

    def __init__(
        self,
        *arguments: Any,
        opener: Callable[..., AsyncQAClient] = AsyncQAClient,
        **options: Any,
    ) -> None:
        self._runner = asyncio.Runner()
        if options.get("transport") is not None:
            options["transport"] = ThreadedTransport(options["transport"])
        try:
            self._client = opener(*arguments, **options)
        except BaseException:
            self._runner.close()
            raise

    def answer(self, question: str, context: str, **options: Any) -> Answer:
        return self._runner.run(self._client.answer(question, context, **options))

    def answers(self, question: str, context: str, **options: Any) -> list[Answer]:
        return self._runner.run(self._client.answers(question, context, **options))

    def answer_many(self, pairs: Pairs, **options: Any) -> Iterator[Answer | BertQAError]:
        return self._drain(self._client.answer_many(pairs, **options))

    def answers_many(self, pairs: Pairs, **options: Any) -> Iterator[list[Answer] | BertQAError]:
        return self._drain(self._client.answers_many(pairs, **options))

    def with_options(self, **options: Any) -> AsyncFace:
        face = copy.copy(self)
        face._client = self._client.with_options(**options)
        return face

    @property
    def is_closed(self) -> bool:
        return self._client.is_closed

    def close(self) -> None:
        self._runner.run(self._client.close())

    def __repr__(self) -> str:
        return repr(self._client)

    def end(self) -> None:
        self.close()
        self._runner.close()

    def _drain(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def step() -> list[T]:
            return [item async for item in _first(items)]

        async def leave() -> None:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

        try:
            while found := self._runner.run(step()):
                yield found[0]
        finally:
            self._runner.run(leave())


class Twins:
    """Opens clients of one kind, and closes them all in the end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._opened: list[QAClient | AsyncFace] = []

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return a `QAClient`, or what looks like one."""
        if self.kind == "sync":
            client = QAClient(*arguments, **options)
            self._opened.append(client)
            return client
        face = AsyncFace(*arguments, **options)
        self._opened.append(face)
        return face

    def local(self, *arguments: Any, **options: Any) -> Any:
        """Return a client of a model in this process."""
        if self.kind == "sync":
            client = QAClient.local(*arguments, **options)
            self._opened.append(client)
            return client
        face = AsyncFace(*arguments, opener=AsyncQAClient.local, **options)
        self._opened.append(face)
        return face

    def close(self) -> None:
        for client in self._opened:
            if isinstance(client, AsyncFace):
                client.end()
            else:
                client.close()


async def _first(items: AsyncIterator[T]) -> AsyncIterator[T]:
    try:
        yield await anext(items)
    except StopAsyncIteration:
        return
