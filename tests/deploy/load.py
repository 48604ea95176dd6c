"""Clients that ask without pause while something happens to the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bertqa import QAClient

QUESTION = "When was the bridge opened?"
CONTEXT = "The bridge was opened in 1932 after four years of work."
CLIENTS = 8


@dataclass
class Load:
    """What the clients got: when each question was asked, and the version that answered."""

    answers: list[tuple[float, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def versions_since(self, moment: float) -> set[int]:
        """The versions that answered what was asked since a `time.monotonic`."""
        return {version for asked, version in self.answers if asked >= moment}

    def wait_for(self, count: int, *, since: float | None = None, seconds: float = 20) -> None:
        """Let the clients go on until so many questions, asked from now on, are answered."""
        moment = time.monotonic() if since is None else since
        give_up = moment + seconds
        while sum(asked >= moment for asked, _ in self.answers[-10 * count :]) < count:
            assert time.monotonic() < give_up, f"no {count} answers in {seconds} s: {self.errors}"
            assert not self.errors, self.errors
            time.sleep(0.01)


@contextmanager
def load(grpc_url: str, rest_url: str, **options: Any) -> Iterator[Load]:
    """Let 8 clients ask while the block runs, half over gRPC and half over REST."""
    found = Load()
    ended = threading.Event()

    def ask(number: int) -> None:
        url = grpc_url if number % 2 else rest_url
        with QAClient(url, metadata_url=rest_url, **options) as client:
            while not ended.is_set():
                asked = time.monotonic()
                try:
                    version = client.answer(QUESTION, CONTEXT).model_version
                except Exception as error:
                    found.errors.append(f"{url}: {type(error).__name__}: {error} {getattr(error, "detail", "")}")
                else:
                    found.answers.append((asked, version))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        found.wait_for(CLIENTS)
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join()
