"""Eight clients over both protocols; as a program they ask without pause and record each answer.

It needs the client and nothing else, so that its text runs in a pod of the client image.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
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


# A log has warnings between the records, those of threads that end in mid-line included.
_BEGIN, _END = "\x02", "\x03"


def ask_for_ever(client: QAClient, question: str, context: str) -> None:
    """Ask for ever: each record is the JSON of an answer, or of the error that came instead."""
    while True:
        found: dict[str, object] = {"asked": time.time()}
        try:
            answer = client.answer(question, context)
            found |= {"version": answer.model_version, "text": answer.text, "score": answer.score}
        except BertQAError as error:
            found["error"] = f"{type(error).__name__}: {error} ({error.detail})"
        # One write, so that no other thread's comes in between.
        os.write(1, f"{_BEGIN}{json.dumps(found)}{_END}\n".encode())


def records(log: str) -> list[dict[str, object]]:
    """Return the records in what the program wrote, whatever else the log has."""
    whole = (part.partition(_END) for part in log.split(_BEGIN)[1:])
    return [json.loads(record) for record, end, _ in whole if end]


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
