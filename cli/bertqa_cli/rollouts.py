"""The options of every rollout, whatever its target, and how its result is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol

import click
import typer
from rich.markup import escape

from bertqa import QAClient
from bertqa._progress import OnProgress
from bertqa.artifact import Split, format_split
from bertqa_cli.console import print_json, print_step, print_warning, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.errors import CommandError, Status, in_words_of_verb
from bertqa_cli.progress import resumable, stages
from bertqa_cli.values import Decimal, Whole, seconds_of
from bertqa_deploy.errors import NothingToDoError
from bertqa_deploy.rollout import (
    AFTER_A_HOLD,
    Connect,
    Evidence,
    Limits,
    Moved,
    OnInconclusive,
    Phase,
    Plan,
    Rollout,
    Standing,
    TrafficTarget,
    compared_on,
    shadowed_by,
)

PAUSE_SECONDS = 120.0

ShowStatus = Annotated[
    bool, typer.Option("--status", help="Show where the rollout stands, and change nothing.")
]

_STEPS = re.compile(r"[0-9]{1,3}(?:,[0-9]{1,3})*")
_PANEL = "Steps and analysis"
_PLAN, _LIMITS = Plan(), Limits()

MakeEvidence = Callable[[Connect, OnProgress], Evidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOptions:
    """How a version comes by its traffic, and what it has to stay within: one meaning everywhere.

    Raises:
        CommandError: The steps cannot be read.
    """

    steps: Annotated[
        str | None,
        typer.Option(
            metavar="5,25,50,100",
            help="The percents of traffic at which the version is held and judged; the goal, 100 "
            "or what --split names, is always the last. 5,25,50,100 for a release whose gateway or "
            "HTTP API splits traffic, else all at once, if left out.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    pause: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long to hold at each step, as in 90s or 5m, and 0 to hold and judge "
            "nowhere; 2m if left out, for one server only where there are --steps.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    interval: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="The time between two measurements; 5s if left out.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = _PLAN.interval_seconds
    initial_delay: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long nothing is measured at the beginning of a step; 0 if left out.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = _PLAN.delay_seconds
    min_requests: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="The requests to a version that a judgement takes.",
            rich_help_panel=_PANEL,
        ),
    ] = _LIMITS.requests
    max_errors: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0, max=100),
            metavar="PERCENT",
            help="Failed requests of the new version in percent, at most.",
            rich_help_panel=_PANEL,
        ),
    ] = _LIMITS.error_percent
    max_p95_factor: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0),
            metavar="FACTOR",
            help="Its 95th percentile of latency divided by the good version's, at most.",
            rich_help_panel=_PANEL,
        ),
    ] = _LIMITS.p95_factor
    failure_limit: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=0),
            metavar="N",
            help="Measurements at a step that may fail before the rollout does.",
            rich_help_panel=_PANEL,
        ),
    ] = _LIMITS.failures
    on_inconclusive: Annotated[
        str,
        typer.Option(
            click_type=click.Choice([each.value for each in OnInconclusive]),
            help="What to do where the evidence does not suffice.",
            rich_help_panel=_PANEL,
        ),
    ] = _PLAN.on_inconclusive.value
    data: Annotated[
        str | None,
        data_option(
            "Questions on which a version that is worse beyond chance gets no traffic",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_disagreement: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0, max=100),
            metavar="PERCENT",
            help="Answers that differ between the versions in percent, at most.",
            rich_help_panel=_PANEL,
        ),
    ] = _LIMITS.disagreement_percent
    shadow: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long a version gets copies of what clients write to --from-log, as in 10m, "
            "before it gets traffic.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    from_log: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The file that clients record to, contexts included.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def __post_init__(self) -> None:
        if (self.shadow is None) != (self.from_log is None):
            raise CommandError(
                "--shadow and --from-log go together: for how long, and what clients record.",
                status=Status.USAGE,
            )
        if self.steps is not None and not _STEPS.fullmatch(self.steps):
            raise CommandError(
                f"The steps {self.steps!r} cannot be read: write percents, as in 5,25,50,100.",
                status=Status.USAGE,
            )

    def limits(self) -> Limits:
        """Return what a version has to stay within."""
        return Limits(
            error_percent=self.max_errors,
            p95_factor=self.max_p95_factor,
            disagreement_percent=self.max_disagreement,
            requests=self.min_requests,
            failures=self.failure_limit,
        )

    def plan(self, steps: tuple[int, ...], pause_seconds: float) -> Plan:
        """Return the plan.

        Args:
            steps: The target's own steps, which hold where the user names none.
            pause_seconds: How long it is held at each of those.

        Raises:
            InvalidOptionError: The options contradict each other.
        """
        if self.steps is not None:
            steps, pause_seconds = tuple(map(int, self.steps.split(","))), PAUSE_SECONDS
        return Plan(
            steps=steps,
            pause_seconds=pause_seconds if self.pause is None else self.pause,
            interval_seconds=self.interval,
            delay_seconds=self.initial_delay,
            limits=self.limits(),
            on_inconclusive=OnInconclusive(self.on_inconclusive),
        )

    def evidence(self) -> list[MakeEvidence]:
        """Return what makes each kind of evidence, once there is a target to ask.

        Raises:
            DataError: The file of --data is not a SQuAD file, or has no question.
        """
        limits, kinds = self.limits(), list[MakeEvidence]()
        if self.data is not None:
            dataset = read_dataset(self.data)
            kinds.append(
                lambda connect, show: compared_on(dataset, connect, limits, on_progress=show)
            )
        if self.shadow is not None and self.from_log is not None:
            log, seconds = self.from_log, self.shadow
            kinds.append(
                lambda connect, show: shadowed_by(log, seconds, connect, limits, on_progress=show)
            )
        return kinds


class Askable(TrafficTarget, Protocol):
    """A target whose versions can be asked one by one, with or without traffic."""

    def client(self, version: int) -> AbstractContextManager[QAClient]:
        """Return an open client that reaches a version.

        Args:
            version: Its number.
        """
        ...


def moved_by(
    target: Askable, split: Split | None, plan: Plan, kinds: Sequence[MakeEvidence]
) -> Moved:
    """Move a target's traffic.

    Args:
        target: The target.
        split: Percents by version; None to return.
        plan: Steps, pauses and limits.
        kinds: The evidence before a version gets traffic.

    Returns:
        What it has come to, also where there was nothing to do, as where the same command ended
        before.

    Raises:
        BertQAError: What a rollout raises.
    """
    with resumable(), stages() as show:
        evidence = [make(target.client, show) for make in kinds]
        rollout = Rollout(target, plan, evidence, on_step=print_step)
        try:
            return rollout.back() if split is None else rollout.move(split)
        except NothingToDoError as error:
            if error.moved is None:
                raise
            print_step(str(error))
            return error.moved


def print_moved(moved: Moved, remark: str = "", *, json: bool) -> None:
    """Print what a rollout has come to.

    Args:
        moved: The result.
        remark: What else is to be known about its target.
        json: Whether for machines.
    """
    if json:
        print_json(moved.to_dict())
        return
    served = ", ".join(map(str, moved.served))
    stdout.print(
        f"[bold]The split of {escape(moved.target)} is {format_split(moved.split)}[/]. "
        f"Served: {served}. {moved.seconds:.1f} s."
    )
    if remark:
        stdout.print(escape(remark))
    if moved.previous is not None:
        stdout.print(f"[dim]--back returns to {format_split(moved.previous)}.[/]")


def print_standing(standing: Standing, *, json: bool) -> None:
    """Print where a rollout stands.

    Args:
        standing: Where it stands.
        json: Whether for machines.
    """
    standing = replace(standing, remarks=[*map(in_words_of_verb, standing.remarks)])
    if json:
        print_json(standing.to_dict())
        return
    served = "" if standing.served is None else ", ".join(map(str, sorted(standing.served)))
    stdout.print(
        f"[bold]The split of {escape(standing.target)} is {_named(standing.split)}[/]. "
        f"Served: {served or 'not known' if standing.served is None else served or 'none'}."
    )
    memory = standing.memory
    if memory.goal is None:
        stdout.print("No rollout is under way.")
    else:
        kind = "return" if standing.phase is Phase.RETURNING else "rollout"
        stdout.print(
            f"A {kind} from {_named(memory.good)} to {_named(memory.goal)} is under way, or was "
            "interrupted: the same command resumes it."
        )
    if memory.held:
        stdout.print(escape(f"It was held: {memory.held} {AFTER_A_HOLD}"))
    for warning in standing.warnings:
        print_warning(warning)
    if standing.previous is not None:
        stdout.print(f"[dim]--back returns to {_named(standing.previous)}.[/]")


def _named(split: Split) -> str:
    return format_split(split) or "no version"
