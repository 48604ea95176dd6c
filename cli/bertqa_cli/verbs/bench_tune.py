"""`bert-qa bench tune`: the settings with which this machine answers most, measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from rich.markup import escape
from rich.table import Table

from bertqa._progress import Progress
from bertqa._words import counted
from bertqa.artifact import Repository as ModelRepository
from bertqa.artifact import usable_topology
from bertqa.errors import RepositoryError
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.hardware import machine_facts, say_what_int8_saves
from bertqa_cli.options import (
    DEFAULT_MODEL,
    DEFAULT_REPOSITORY,
    Json,
    Model,
    Repository,
    require_repository,
)
from bertqa_cli.progress import stages as showing
from bertqa_cli.values import Whole, output_file, seconds_of, write_output

if TYPE_CHECKING:
    from bertqa.load import Candidate, Goal, Tuning


def bench_tune(
    data: Annotated[str, data_option("Questions")],
    repository: Repository = DEFAULT_REPOSITORY,
    model: Model = DEFAULT_MODEL,
    version: Annotated[
        list[int] | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="A version to choose from; repeatable, the highest one if left out.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(("auto", "ovms", "local")),
            metavar="ENGINE",
            help="auto, ovms or local.",
        ),
    ] = "auto",
    at_once: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=1, max=4096),
            metavar="N",
            help="Questions on their way at once, of which most are to be answered in a second.",
        ),
    ] = 16,
    p99: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="In its place, find the highest rate at which 99 % take no longer than this.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long each turn is; 5s if left out.",
            show_default=False,
        ),
    ] = 5.0,
    rounds: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=3),
            metavar="N",
            help="How often the best and the default take turns in the end.",
        ),
    ] = 10,
    questions: Annotated[
        int, typer.Option(click_type=Whole(min=1), metavar="N", help="Ask this many in turn.")
    ] = 1000,
    write: Annotated[
        Path | None,
        typer.Option(
            callback=output_file, help="Write the settings here, as values for the Helm chart."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Find the fastest settings of a server on this machine, by measurement.

    Servers are started with each of them, and asked in turn: versions and precisions, then threads
    and streams by the cores of this machine, then the tokens that a client puts into one request.
    The slower half drops out in each round. What wins then meets the default once more; if it is
    not better beyond chance, the default stays.
    """
    if p99 is not None and not p99:
        raise CommandError("--p99 has to be above 0.", status=Status.USAGE)
    if not duration:
        raise CommandError("--duration has to be above 0.", status=Status.USAGE)
    source = ModelRepository(repository)
    versions = _versions(source, model, version)
    from bertqa.load import Candidate, Goal, LoadTest, Objective, tune
    from bertqa_serve.laboratory import ServerLaboratory, candidate_of, engine_that_is_tuned

    served_by = engine_that_is_tuned(engine)
    pairs = [(each.question, each.context) for each in islice(read_dataset(data), questions)]
    topology = usable_topology()
    goal = Goal(at_once, None if p99 is None else Objective(milliseconds=1000 * p99))
    about: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "questions": len(pairs),
        **machine_facts(),
        "topology": asdict(topology),
        "engine": served_by.kind,
        "goal": str(goal),
        "f1": {str(each): _f1(source, each, model) for each in versions},
    }
    say_what_int8_saves()
    default = Candidate.default(versions[-1], topology)
    found = candidate_of(source, default, model)
    present = None if found == default else found
    turn = ""

    def on_turn(words: str) -> None:
        nonlocal turn
        turn = f" ({words})"

    with showing() as show:

        def on_progress(progress: Progress) -> None:
            show(replace(progress, stage=progress.stage + turn))

        test = LoadTest(pairs, duration, warm_up=min(1.0, duration))
        laboratory = ServerLaboratory(repository, served_by, test, model, on_progress)
        tuning = tune(
            default,
            versions,
            topology,
            laboratory,
            goal,
            rounds,
            present=present,
            on_turn=on_turn,
        )
    text = _file(about, tuning, goal)
    if not json:
        _print(about, tuning)
    if write is not None:
        write_output(write, text)
    if json:
        print_json({**about, **tuning.to_dict(), "file": None if write is None else str(write)})
    elif write is None:
        stdout.print(escape(f"\n{text}"), end="")
    else:
        stdout.print(
            f"{escape(str(write))} is written: `bert-qa serve --tuned {escape(str(write))}`, or "
            f"`helm upgrade --install -f {escape(str(write))}` for nodes like this machine."
        )


def _versions(repository: ModelRepository, model: str, named: list[int] | None) -> list[int]:
    """Return the versions to choose from, the default one last: that which a server answers with.

    Raises:
        CommandError: There is no repository, or no version in it.
        RepositoryError: One that was named is not there.
    """
    require_repository(repository)
    found = sorted(set(named or repository.versions(model)[-1:]))
    if not found:
        raise RepositoryError(repository.without(model))
    for each in found:
        repository.require_version(each, model)
    return found


def _f1(repository: ModelRepository, version: int, model: str) -> float | None:
    """Return how well a version answers, by its manifest; None where that does not say."""
    try:
        scores = repository.manifest(version, model).scores
    except RepositoryError:
        return None
    return None if scores is None else scores.f1


def _verdict(tuning: Tuning) -> str:
    ratio = tuning.ratio
    if ratio is None:
        return f"Nothing is faster than the default: {tuning.default}"
    found = (
        f"{ratio.estimate:.2f} times the default (95 % interval {ratio.low:.2f} to "
        f"{ratio.high:.2f}, {len(tuning.rounds)} rounds in turn)"
    )
    if tuning.is_better:
        return f"The best: {tuning.best}, with {found}"
    stays = f"The default stays: {tuning.default}. What won the races, {tuning.best}, has {found}"
    if tuning.is_decided:
        return stays
    longer = "measure longer (--duration, --rounds), with nothing else running"
    return f"Not decided: {longer}. {stays}"


def _file(about: dict[str, Any], tuning: Tuning, goal: Goal) -> str:
    from bertqa_serve.tuned import TunedSettings, this_machine

    chosen = tuning.chosen
    settings = TunedSettings(
        threads=chosen.threads,
        streams=chosen.streams,
        precision=chosen.precision,
        token_budget=chosen.token_budget,
        made_for=this_machine(),
    )
    return settings.text(
        [
            f"CPU features: {' '.join(about['cpu_features']) or 'none that matter here'}",
            f"Made by `bert-qa bench tune` with {about['engine']}, {about['made']}",
            f"Asked: {about['questions']} questions of {about['data']}",
            f"Measured: {goal}, of version {chosen.version}",
            _verdict(tuning),
        ]
    )


def _known(tuning: Tuning, candidate: Candidate) -> str:
    """Return which settings that are not tuned a candidate has; it may be of another version."""
    if candidate == replace(tuning.default, version=candidate.version):
        return "default"
    present = tuning.present
    is_present = present and candidate == replace(present, version=candidate.version)
    return "as config.json has it" if is_present else ""


def _print(about: dict[str, Any], tuning: Tuning) -> None:
    features = " ".join(about["cpu_features"]) or "none that matter here"
    topology = about["topology"]
    stdout.print(
        f"{escape(about['cpu'])} ({escape(features)}), {counted(topology['cores'], 'core')}, "
        f"{counted(topology['threads'], 'hardware thread')}, "
        f"{counted(topology['nodes'], 'NUMA node')}; served with "
        f"{about['engine']}; {escape(about['goal'])}"
    )
    for race in tuning.races:
        candidates = [asdict(each.candidate) for each in race]
        varied = [name for name in candidates[0] if len({each[name] for each in candidates}) > 1]
        columns = (each.replace("_", " ") for each in varied)
        table = Table(*columns, "questions/s", "spread", "turns", "")
        for trial, candidate in zip(race, candidates, strict=True):
            values = (str(candidate[name]) for name in varied)
            spread = f"{min(trial.figures):.1f} to {max(trial.figures):.1f}"
            turns = str(len(trial.figures))
            table.add_row(
                *values, f"{trial.mean:.1f}", spread, turns, _known(tuning, trial.candidate)
            )
        print_table(table)
    if len(about["f1"]) > 1:
        known = (f"version {each} {f1:.1f}" for each, f1 in about["f1"].items() if f1 is not None)
        stdout.print(f"F1 in percent, by the manifests: {', '.join(known) or 'unknown'}")
    stdout.print(f"[bold]{escape(_verdict(tuning))}[/]")
    number = tuning.chosen.version
    if number != tuning.default.version:
        stdout.print(f"`bert-qa switch --to {number}` moves the traffic to version {number}.")
