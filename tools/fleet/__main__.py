"""Simulate a fleet, measure replicas on this machine, and write docs/scaling.md's figures.

python -m tools.fleet measure --repository model_repository --data dev-v1.1.json --version 2
python -m tools.fleet simulate               # minutes: tools/fleet/simulated.json
python -m tools.fleet render                 # the tables and plots of docs/scaling.md
python -m tools.fleet render --check         # whether they are up to date
python -m tools.fleet pods --rate 500        # how many pods a rate needs
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bertqa.evaluation import read_squad
from bertqa.load import LoadTest
from bertqa_serve.laboratory import engine_that_is_tuned
from tools.fleet import scenarios
from tools.fleet.local import Plan
from tools.fleet.measure import measure, write
from tools.fleet.page import filled, pictures, tables
from tools.fleet.simulation import Service

_HERE = Path(__file__).parent
ROOT = _HERE.parents[1]
PAGE = ROOT / "docs" / "scaling.md"
IMAGES = ROOT / "docs" / "images"
MEASURED, SIMULATED, NODES = (_HERE / f"{name}.json" for name in ("measured", "simulated", "nodes"))
PRICE = 1.0


def _between(least: float, most: float) -> Callable[[str], float]:
    """Return what reads an option's number, and refuses one that is not within limits."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"it is {text!r}, but it has to be a number from {least:g} to {most:,.0f}"
            )
        return number

    return read


# Simulations that end within minutes.
_RATE, _COST = _between(0.1, 100_000), _between(0.01, 100_000)
_PRICE, _SECONDS = _between(0, 1_000_000), _between(1, 86_400)


def service_of(measured: dict[str, Any]) -> Service:
    """Return what a question costs a pod, one thread for each stream.

    Args:
        measured: The figures of `measured.json`.
    """
    question = measured["question"]
    rest = question["rest_ms"] + question["client_ms"]
    return Service(tuple(each / 1000 for each in question["core_ms"]), rest / 1000)


def simulate(measured: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all scenarios.

    Args:
        measured: The figures of `measured.json`.
    """
    service = service_of(measured)
    return {
        "counts": scenarios.counts(service, print),
        "balancing": scenarios.balancing(service, print),
        "disturbances": scenarios.disturbances(service, print),
        "scaling": scenarios.scaling(service, print),
    }


def rendered(price: float = PRICE) -> dict[Path, str]:
    """Return what the page and its plots have to be, by their files.

    Args:
        price: What a node costs in an hour.
    """
    measured, simulated, nodes = map(_read, (MEASURED, SIMULATED, NODES))
    page = PAGE.read_text(encoding="utf-8")
    made = {IMAGES / name: svg for name, svg in pictures(simulated).items()}
    return {PAGE: filled(page, tables(measured, simulated, nodes, price)), **made}


def main(arguments: Sequence[str]) -> int:
    """Run a command, and return the exit status: 1 where files are not up to date.

    Args:
        arguments: The command and its options.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    if options.command == "measure":
        engine = engine_that_is_tuned(options.engine)
        pairs = [(each.question, each.context) for each in read_squad(options.data)]
        test = LoadTest(pairs, seconds=options.seconds, processes=1)
        plan = Plan(options.repository, options.version, engine.kind, test)
        figures = measure(plan)
        write(options.write, {"machine": options.machine, **figures})
        print(f"Written to {options.write}.")
        rows = [*figures["compared"], *figures["slow"]]
        if late := sum(row["asked_late"] for row in rows):
            print(
                f"warning: in {late} of {len(rows)} rows questions were asked late: something else "
                "had the processors of this machine.",
                file=sys.stderr,
            )
    elif options.command == "simulate":
        write(SIMULATED, simulate(_read(MEASURED)))
    elif options.command == "pods":
        service = service_of(_read(MEASURED))
        if options.core_ms is not None:
            service = service.scaled_to(options.core_ms / 1000)
        try:
            pods, outcome = scenarios.pods_for(
                service, scenarios.CLIENT_POLICY, options.rate, options.p99_ms
            )
        except ValueError as error:
            print(f"error: {error} --p99-ms allows more.", file=sys.stderr)
            return 1
        print(
            f"{pods} {'pod' if pods == 1 else 'pods'} of {scenarios.STREAMS} cores: "
            f"p99 {outcome.quantile_ms(99):.0f} ms, "
            f"{options.rate * service.mean / (pods * scenarios.STREAMS):.0%} of the cores busy"
        )
    else:
        made = rendered(options.price_per_hour)
        stale = [path for path, text in made.items() if not _has(path, text)]
        if options.check and stale:
            print(f"Not up to date: {', '.join(map(str, stale))}: run python -m tools.fleet render")
            return 1
        for path in stale:
            path.write_text(made[path], encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.fleet", description=(__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser(
        "measure", help="replicas on this machine: nothing else may run"
    )
    measuring.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        help="where the version is (default: %(default)s)",
    )
    measuring.add_argument("--data", type=Path, required=True, help="questions, as SQuAD's JSON")
    measuring.add_argument("--version", type=int, required=True, help="the version that answers")
    measuring.add_argument(
        "--engine",
        default="local",
        choices=["local", "ovms", "auto"],
        help="what serves it (default: %(default)s)",
    )
    measuring.add_argument(
        "--seconds", type=_SECONDS, default=30.0, help="of each row (default: %(default)g)"
    )
    measuring.add_argument("--machine", default="", help="what the page has as its description")
    measuring.add_argument(
        "--write",
        type=Path,
        default=MEASURED,
        help="the file of the figures; the default is the one that the other commands read",
    )
    commands.add_parser("simulate", help="all scenarios: minutes")
    pods = commands.add_parser("pods", help="how many pods a rate needs")
    pods.add_argument("--rate", type=_RATE, required=True, help="questions per second")
    pods.add_argument(
        "--core-ms",
        type=_COST,
        help="what a question costs on average, in ms of a core; that of measured.json if left out",
    )
    pods.add_argument(
        "--p99-ms",
        type=_COST,
        default=scenarios.PROMISE_MS,
        help="what 99 %% of the questions take at most, in ms (default: %(default)g)",
    )
    rendering = commands.add_parser("render", help="the tables and plots of docs/scaling.md")
    rendering.add_argument("--check", action="store_true")
    rendering.add_argument("--price-per-hour", type=_PRICE, default=PRICE)
    return parser


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _has(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
