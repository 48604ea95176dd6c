"""`bert-qa compare`: two versions on the same questions, side by side."""

from __future__ import annotations

import webbrowser
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import Repository
from bertqa.errors import ModelLoadError, RepositoryError
from bertqa.evaluation import (
    Comparison,
    LogReport,
    QuestionScores,
    ScoredSystem,
    compare_scores,
    comparison_page,
    metric_rows,
    report_on_log,
)
from bertqa.evaluation import compare as compare_systems
from bertqa.runtime import find_model
from bertqa_cli.chosen import Chosen
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_json, print_table, stderr, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.formatting import about_manifest, directory_size, highlighted, milliseconds
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import (
    DEFAULT_NAMESPACE,
    DEFAULT_REPOSITORY,
    Json,
    Namespace,
    Release,
    helm_of,
)
from bertqa_cli.options import Repository as RepositoryOption
from bertqa_cli.progress import stages, working
from bertqa_cli.values import (
    FOR_RELEASE,
    FOR_SERVER,
    FOR_URL,
    Whole,
    output_file,
    refuse_typed,
    refuse_typed_beside,
    version_number,
    write_output,
)
from bertqa_cli.verb import alone

if TYPE_CHECKING:
    from bertqa_deploy.cluster.status import TrackStatus

DISAGREEMENTS_SHOWN = 5
PORT = 8765

_ASK_BOTH = "Type --data with questions, on which both are asked."
_FOR_VERSIONS = "for two versions, and --from-log compares those of the log."


@grouped_options
def compare(
    first: Annotated[
        str | None,
        typer.Argument(help="A version's number, or the path of a model that is not published."),
    ] = None,
    second: Annotated[str | None, typer.Argument(help="What to compare it with, likewise.")] = None,
    data: Annotated[str | None, data_option("Questions")] = None,
    repository: RepositoryOption = DEFAULT_REPOSITORY,
    release: Release = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    html: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="Write one self-contained HTML page here."),
    ] = None,
    from_log: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Report on recorded traffic instead: a JSONL file."
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Open a local page to ask both, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int, typer.Option(click_type=Whole(min=1, max=65535), help="The page's port.")
    ] = PORT,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """Show which of two versions is better, by how much, and whether that is more than chance.

    Without --data, two published versions are compared by the scores of each question in their
    manifests, and none is asked.
    """
    if from_log is not None:
        refuse_typed_beside({"from_log"}, _FOR_VERSIONS)
        _from_log(from_log, json=json)
        return
    if first is None or second is None:
        raise CommandError(
            "Name two versions, as in bert-qa compare 1 2, or type --from-log.",
            status=Status.USAGE,
        )
    if first == second:
        raise CommandError(f"{first} cannot be compared with itself.", status=Status.USAGE)
    is_stored = data is None and not serve
    if (data is not None and serve) or (is_stored and (release or connection.url)):
        raise CommandError(
            "Type --data with questions to compare on, or --serve for a page to ask on.",
            status=Status.USAGE,
        )

    if release is not None:
        refuse_typed({"url", "metadata_url"}, FOR_SERVER)
    else:
        refuse_typed({"namespace"}, FOR_RELEASE)
        if connection.url is None:
            connection.refuse(FOR_URL)

    refuse_typed({"html"} if serve else {"port"}, "not for --serve." if serve else "for --serve.")

    if is_stored:
        comparison = _by_evidence(first, second, Repository(repository), connection.model)
        _report(comparison, html, json=json)
        return
    with ExitStack() as stack:
        if release is not None:
            chosen = _tracks(stack, release, namespace, connection, (first, second))
        else:
            served = None if connection.url is None else connection
            place = Repository(repository)
            one = _chosen(first, served, place, connection.model)
            chosen = one, _chosen(second, served, place, connection.model)
        if data is None:
            _serve(chosen, connection, port, json=json)
            return
        dataset = read_dataset(data)
        with working("Opening both"):
            systems = chosen[0].system(stack), chosen[1].system(stack)
        with stages() as show:
            comparison = compare_systems(*systems, dataset, on_progress=show)
    _report(comparison, html, json=json)


def _report(comparison: Comparison, html: Path | None, *, json: bool) -> None:
    if not json:
        _show(comparison)  # What was computed is not lost where the page cannot be written.
    if html is not None:
        write_output(html, comparison_page(comparison))
        stderr.print(f"wrote {escape(str(html))}")
    if json:
        print_json(comparison.to_dict())


def _by_evidence(first: str, second: str, repository: Repository, model: str) -> Comparison:
    """Compare two versions by the scores of each question that were published with them."""
    one, other = (_scored(name, repository, model) for name in (first, second))
    if one.questions.dataset_sha256 != other.questions.dataset_sha256:
        raise CommandError(
            f"{one.name.capitalize()} was scored on {_counted(one)} and {other.name} on "
            f"{_counted(other)}, which are not the same. {_ASK_BOTH}",
            status=Status.USAGE,
        )
    return compare_scores(one, other)


def _scored(name: str, repository: Repository, model: str) -> ScoredSystem:
    version = version_number(name)
    if version is None:
        raise CommandError(
            f"{name} is not a version's number, and only published versions have scores. "
            f"{_ASK_BOTH}",
            status=Status.USAGE,
        )
    directory = repository.require_version(version, model)
    manifest = repository.manifest(version, model)
    if manifest.scores is None or manifest.evidence is None:
        dataset = f", such as {manifest.scores.dataset}" if manifest.scores else ""
        raise CommandError(
            f"Version {version} was published without the scores of each question. Type --data "
            f"with questions{dataset}, on which both are asked.",
            status=Status.USAGE,
        )
    questions = QuestionScores.read(manifest.evidence, manifest.scores)
    size, about = directory_size(directory), about_manifest(manifest)
    return ScoredSystem(f"version {version}", manifest.scores, questions, size, about)


def _counted(system: ScoredSystem) -> str:
    return f"{counted(system.scores.questions, 'question')} of {system.scores.dataset}"


def _chosen(
    name: str, served: ConnectionOptions | None, repository: Repository, model: str
) -> Chosen:
    """Return a version that is served or published, or a model that is neither."""
    version = version_number(name)
    if version is None:
        return _local(name, Path(name), None)
    directory = repository.version_dir(version, model)
    if served is not None:
        size = directory_size(directory) if directory.is_dir() else None
        title = f"version {version}"
        return Chosen(name=title, where=served, version=version, number=version, size=size)
    directory = repository.require_version(version, model)
    chosen = _local(f"version {version}", directory, version)
    try:
        return replace(chosen, about=about_manifest(repository.manifest(version, model)))
    except RepositoryError:
        return chosen  # What a version is made of is worth no refusal.


def _local(name: str, path: Path, number: int | None) -> Chosen:
    """Return a model that runs in this process."""
    try:
        file = find_model(path)
    except ModelLoadError as error:
        raise CommandError(
            f"{path} is neither a version's number nor a model. {error}", status=Status.USAGE
        ) from error
    return Chosen(name=name, where=file, number=number, size=directory_size(file.parent))


def _tracks(
    stack: ExitStack,
    release: str,
    namespace: str | None,
    connection: ConnectionOptions,
    names: tuple[str, str],
) -> tuple[Chosen, Chosen]:
    """Return two that are tracks of a release, or versions that tracks have."""
    helm = helm_of(release, namespace)

    from bertqa_deploy.cluster.pods import Pods
    from bertqa_deploy.cluster.status import track_statuses

    statuses = track_statuses(helm)
    pods = Pods(release, helm.place(helm.values()))
    chosen = []
    for name in names:
        found = [each for each in statuses if name in _names(each) and each.ready]
        if not found:
            known = ", ".join(f"{each.track} (version {_names(each)[-1]})" for each in statuses)
            raise CommandError(
                f"The release {release} has no ready track {name} (tracks: {known or 'none'})."
            )
        pod = next(pod for pod in found[0].pods if pod.ready)
        address = stack.enter_context(pods.tunnel(pod))
        to_pod = replace(connection, url=address, metadata_url=None)
        place = f"the pod {pod.name}"
        title = f"version {_names(found[0])[-1]}"
        chosen.append(Chosen(name=title, where=to_pod, number=found[0].serves, place=place))
    return chosen[0], chosen[1]


def _names(track: TrackStatus) -> tuple[str, ...]:
    """Return what a track is called by: its name, what it follows, and the version it serves."""
    served = () if track.serves is None else (str(track.serves),)
    return track.track, track.version, *served


def _serve(
    chosen: tuple[Chosen, Chosen], connection: ConnectionOptions, port: int, *, json: bool
) -> None:
    """Serve the page of the HTTP API, with both side by side."""
    from bertqa_serve.http_api import HttpApiOptions, SideBySide, serve_http_api

    backend = SideBySide([each.side() for each in chosen], connection.model)

    def on_ready(address: str) -> None:
        page = f"{address}/?compare={','.join(map(str, backend.numbers))}"
        if json:
            print_json({"page_url": page})
            return
        stdout.print(f"Ask both at [bold]{escape(page)}[/] until Ctrl-C.", soft_wrap=True)
        if stdout.is_terminal:
            webbrowser.open(page)

    client = {"model": connection.model, "timeout": connection.timeout}
    options = HttpApiOptions(client=client, port=port, log_level="WARNING")
    serve_http_api(options, backend=backend, on_ready=on_ready)


def _show(comparison: Comparison) -> None:
    first, second = comparison.metrics
    title = f"{counted(comparison.questions, 'question')} of {comparison.dataset}"
    table = Table("", first.name, second.name, title=escape(title))
    for row in metric_rows(first, second):
        table.add_row(*row)
    print_table(table)
    stdout.print(f"[bold]{escape(comparison.verdict)}[/]")
    if comparison.agreement is None:
        stdout.print("By the scores that both were published with: --data asks both.")
        return
    stdout.print(f"Both return the same answer to {comparison.agreement:.1f} % of the questions.")
    for each in comparison.disagreements[:DISAGREEMENTS_SHOWN]:
        stdout.print(f"\n[bold]{escape(each.question)}[/]  right: {escape(_right(each.golds))}")
        for system, answer, f1 in zip(comparison.metrics, each.answers, each.f1, strict=True):
            text = escape(answer.text) or "no answer"
            stdout.print(f"{escape(system.name)}, F1 {f1:.0f}: [bold]{text}[/]")
            stdout.print(highlighted(answer, each.context))
    more = len(comparison.disagreements) - DISAGREEMENTS_SHOWN
    if more > 0:
        stdout.print(
            f"\n[dim]and {counted(more, 'more disagreement')}: --html and --json have them.[/]"
        )


def _right(golds: list[str]) -> str:
    return " / ".join(dict.fromkeys(golds)) or "the text does not say"


def _from_log(path: Path, *, json: bool) -> None:
    report = report_on_log(path)
    if json:
        print_json(report.to_dict())
    else:
        _show_log(report)


def _show_log(report: LogReport) -> None:
    table = Table("version", "questions", "mean score", "no answer", "median", "95th percentile")
    for each in report.versions:
        table.add_row(
            str(each.version),
            str(each.questions),
            f"{each.mean_score:.3f}",
            f"{each.no_answer_percent:.1f} %",
            milliseconds(each.median_ms),
            milliseconds(each.p95_ms),
        )
    print_table(table)
    for shadow in report.shadows:
        stdout.print(f"[bold]{escape(shadow.verdict)}[/]")
        for line in shadow.disagreements[:DISAGREEMENTS_SHOWN]:
            stdout.print(f"  differs: {escape(line.question)} (score {line.answer.score:.3f})")
    for name, count in sorted(report.shadow_errors.items()):
        stdout.print(f"The shadow failed {counted(count, 'time')} with {escape(name)}.")


app = alone(compare)
