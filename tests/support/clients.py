"""Eight clients over both protocols; as a program they ask without pause and print each answer.

It needs the client and nothing else, so that its text runs in a pod of the client image.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bertqa import BertQAError, QAClient


@contextmanager
def eight_clients(
    grpc_url: str, rest_url: str, timeout: float = 30.0
) -> Iterator[list[tuple[QAClient, bool]]]:
    """Four clients over gRPC and four over REST; every other one follows the split."""
    with ExitStack() as stack:
        yield [
            (
                stack.enter_context(
                    QAClient(
                        url,
                        metadata_url=rest_url,
                        traffic="auto" if follows else None,
                        timeout=timeout,
                    )
                ),
                follows,
            )
            for url in (grpc_url, rest_url)
            for follows in (False, True, False, True)
        ]


def ask_for_ever(client: QAClient, question: str, context: str) -> None:
    """Ask for ever: each line is the JSON of an answer, or of the error that came instead."""
    while True:
        found: dict[str, object]
        try:
            answer = client.answer(question, context)
            found = {"version": answer.model_version, "text": answer.text, "score": answer.score}
        except BertQAError as error:
            found = {"error": f"{type(error).__name__}: {error} ({error.detail})"}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def main(grpc_url: str, rest_url: str, question: str, context: str) -> None:
    with eight_clients(grpc_url, rest_url) as clients:
        threads = [
            threading.Thread(target=ask_for_ever, args=(client, question, context))
            for client, _ in clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
