"""Disturb a server for a long time under eight clients: no request may fail.

    python -m tools.endurance --engine ovms --minutes 30

Four clients call over gRPC and four over REST, without pause; half of them follow the split.
Versions are
switched meanwhile, and the server is ended, killed and stopped (SIGSTOP), between switches and
in the middle of them, as a seed has it. An answer counts as a failure, too, where it is not what
the version that it names answers, or where a version outside the split gave it.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bertqa import BertQAError
from bertqa.artifact import Repository, Split
from bertqa_deploy.config_file import ConfigTarget
from bertqa_deploy.errors import NothingToDoError
from bertqa_deploy.rollout import Rollout
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from tests.support.clients import eight_clients
from tests.support.engines import Served, toy_server
from tests.support.load import Load, asking

# Toy models answer with whatever they find: the only word of a context is always right.
SMOKE = Smoke("When?", "1932", "1932")
# Longer than a restart of OVMS, whose port is busy for a minute.
PATIENCE = 240.0
STOPPED_SECONDS = (1.0, 12.0)
SPLITS: tuple[dict[int, float], ...] = ({1: 100.0}, {2: 100.0}, {1: 50.0, 2: 50.0})


class Disturbance:
    """Does to a server what may happen to one.

    Args:
        server: The server, a process of its own.
        chance: What decides.
    """

    def __init__(self, server: Served, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self.kinds: dict[str, Callable[[], None]] = {
            "end": self._end,
            "kill": self._kill,
            "stop": self._stop,
        }

    def _end(self) -> None:
        self._server.stop()
        self._server.start()

    def _kill(self) -> None:
        self._server.kill()
        self._server.start()

    def _stop(self) -> None:
        self._server.send(signal.SIGSTOP)
        time.sleep(self._chance.uniform(*STOPPED_SECONDS))
        self._server.send(signal.SIGCONT)


def move(server: Served, split: Split, *, retire: bool) -> None:
    """Move the traffic of a server, as `bert-qa switch` does.

    Args:
        server: The server.
        split: Percents by version.
        retire: Whether versions outside the split are no longer served.
    """
    operated = Server(server.rest_url, patience=PATIENCE)
    with ConfigTarget(
        Repository(server.repository), operated, smoke=SMOKE, retire=retire
    ) as target:
        Rollout(target).move(split)


def endure(server: Served, load: Load, chance: random.Random, end: float) -> Counter[str]:
    """Switch and disturb until a time.

    Args:
        server: The server.
        load: What the clients get.
        chance: What decides.
        end: A time of `time.monotonic()`.

    Returns:
        How often each thing happened.
    """
    happened: Counter[str] = Counter()
    disturbance = Disturbance(server, chance)
    while time.monotonic() < end and not load.errors:
        kind = chance.choice([*disturbance.kinds, ""])
        during = bool(kind) and chance.random() < 0.5
        split = chance.choice(SPLITS)
        thread = threading.Timer(chance.uniform(0, 3), disturbance.kinds.get(kind, lambda: None))
        if during:
            thread.start()
        elif kind:
            disturbance.kinds[kind]()
        began = time.monotonic()
        try:
            move(server, split, retire=chance.random() < 0.5)
            outcome = "switched"
        except NothingToDoError:
            outcome = "nothing to switch"
        thread.join() if during else thread.cancel()
        seconds = time.monotonic() - began
        served = load.observe(patience=PATIENCE)
        if outcome == "switched" and not served[1] <= set(split):
            load.errors.append(f"{served[1]} answered under the split {split}")
        label = f"{kind or 'nothing'}{' during a switch' if during else ''}"
        happened[f"{label}: {outcome}"] += 1
        print(f"{label}, {outcome} to {split} in {seconds:.1f} s", flush=True)
    return happened


def main() -> int:
    """Run, print what happened as JSON, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="local", help="local, ovms or container")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "model_repository"
        policy = {"specific": {"versions": [1]}}
        server = toy_server(options.engine, root, 1, 2, policy=policy, own_process=True)
        with server, eight_clients(server.grpc_url, server.rest_url, timeout=PATIENCE) as clients:
            failure, happened = "", Counter[str]()
            began = time.monotonic()
            try:
                with asking(clients) as load:
                    chance = random.Random(options.seed)
                    happened = endure(server, load, chance, began + 60 * options.minutes)
            except (AssertionError, BertQAError) as error:
                failure = f"{type(error).__name__}: {error}"
            result = {
                "engine": options.engine,
                "minutes": round((time.monotonic() - began) / 60, 1),
                "answers": len(load.default) + len(load.followed),
                "answers_by_version": dict(
                    Counter(version for _, version in load.default + load.followed)
                ),
                "failures": len(load.errors),
                "first_failures": load.errors[:3],
                "failure": failure,
                "happened": dict(happened),
            }
    print(json.dumps(result, indent=2))
    return int(bool(failure or load.errors))


if __name__ == "__main__":
    sys.exit(main())
