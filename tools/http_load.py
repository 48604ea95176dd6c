"""The HTTP API beside `AsyncQAClient`, on one server: questions per second, and added latency.

    python -m tools.http_load --url localhost:9000 --data build/recipes/demo/evaluation-sample.json

The API runs in processes of its own, the load comes from this one, and all take turns in rounds,
so that what else the machine does meets each of them. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bertqa import AsyncQAClient
from bertqa.evaluation import read_squad
from bertqa_serve.http_api import HttpApiOptions, http_api_beside

Pair = tuple[str, str]
SHARE_FROM, ADDED_BELOW_MS = 0.95, 1.0


class Connection:
    """One connection that is kept: as little work for a request as can be.

    Args:
        url: The address of the HTTP API.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._place = parts.hostname, parts.port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes) -> bytes:
        """Return the body of the response, which has to be 200.

        Args:
            path: The path.
            body: The body, as JSON.
        """
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._place)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answered = await self._reader.readuntil(b"\r\n\r\n")
        if not answered.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"The API answered {answered.splitlines()[0].decode()}.")
        lengths = [
            int(line.partition(b":")[2])
            for line in answered.lower().splitlines()
            if line.startswith(b"content-length")
        ]
        return await self._reader.readexactly(lengths[0])

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()


async def at_once(
    pairs: Sequence[Pair], workers: Sequence[Callable[[Pair], Awaitable[object]]]
) -> float:
    """Return the questions per second when each worker asks one at a time.

    Args:
        pairs: The questions with their contexts.
        workers: What ask one.
    """
    rest = iter(pairs)

    async def work(ask: Callable[[Pair], Awaitable[object]]) -> None:
        for pair in rest:
            await ask(pair)

    begin = time.perf_counter()
    await asyncio.gather(*map(work, workers))
    return len(pairs) / (time.perf_counter() - begin)


async def seconds_of(asking: Awaitable[object]) -> float:
    """Return how long a question takes."""
    begin = time.perf_counter()
    await asking
    return time.perf_counter() - begin


async def measure(
    client: AsyncQAClient, url: str, pairs: Sequence[Pair], rounds: int, connections: int
) -> dict[str, Any]:
    """Take turns, and return the figures.

    Args:
        client: The client, as it is without the API.
        url: The address of the API.
        pairs: The questions with their contexts.
        rounds: How often each way of asking has its turn.
        connections: How many questions are asked at once.

    Returns:
        The figures by name.
    """
    opened = [Connection(url) for _ in range(connections)]

    def body(pair: Pair) -> bytes:
        return json.dumps({"question": pair[0], "context": pair[1]}).encode()

    async def direct(pair: Pair) -> object:
        return await client.answer(*pair)

    def over(connection: Connection) -> Callable[[Pair], Awaitable[object]]:
        async def ask(pair: Pair) -> object:
            return await connection.post("/v1/answers", body(pair))

        return ask

    async def stream(_: Pair) -> object:
        return [each async for each in client.answer_many(pairs)]

    async def as_list(_: Pair) -> object:
        shown = [{"question": question, "context": context} for question, context in pairs]
        return await opened[0].post("/v1/answers", json.dumps({"pairs": shown}).encode())

    ways: dict[str, list[float]] = defaultdict(list)
    latencies: dict[str, list[float]] = {"answer": [], "POST": []}
    for warm in (True, *[False] * rounds):
        rates = {
            "answer": await at_once(pairs, [direct] * connections),
            "POST": await at_once(pairs, [over(each) for each in opened]),
            "answer_many": len(pairs) * await at_once(pairs[:1], [stream]),
            "POST of a list": len(pairs) * await at_once(pairs[:1], [as_list]),
        }
        if warm:
            continue
        for name, rate in rates.items():
            ways[name].append(rate)
        for pair in pairs[:100]:
            latencies["answer"].append(await seconds_of(direct(pair)))
            latencies["POST"].append(await seconds_of(over(opened[0])(pair)))
    for each in opened:
        each.close()
    medians = {name: statistics.median(each) for name, each in ways.items()}
    alone, posted = (1000 * statistics.median(each) for each in latencies.values())
    return {
        "questions_per_second": {name: round(each, 1) for name, each in medians.items()},
        "share": round(medians["POST"] / medians["answer"], 3),
        "share_of_list": round(medians["POST of a list"] / medians["answer_many"], 3),
        "share_wanted": SHARE_FROM,
        "median_ms": {"answer": round(alone, 3), "POST": round(posted, 3)},
        "added_ms": round(posted - alone, 3),
        "added_ms_wanted_below": ADDED_BELOW_MS,
        "connections": connections,
        "questions": len(pairs),
        "rounds": rounds,
    }


async def run(options: argparse.Namespace, url: str) -> dict[str, Any]:
    """Open a client beside the API, and return the figures.

    Args:
        options: The options of the command line.
        url: The address of the API.

    Returns:
        The figures by name.
    """
    pairs = [(each.question, each.context) for each in read_squad(options.data)]
    async with AsyncQAClient(options.url, metadata_url=options.metadata_url) as client:
        return await measure(
            client, url, pairs[: options.questions], options.rounds, options.connections
        )


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--url", default="localhost:9000")
    parser.add_argument("--metadata-url")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    client = {"url": options.url, "metadata_url": options.metadata_url}
    api = HttpApiOptions(client=client, port=0, workers=options.workers, log_level="WARNING")
    with http_api_beside(api) as (url, _):
        print(json.dumps(asyncio.run(run(options, url)), indent=2))


if __name__ == "__main__":
    main()
