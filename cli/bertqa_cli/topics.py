"""What `bert-qa help TOPIC` explains: whatever no single option can say."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from bertqa_cli.console import print_table, stdout

Block = str | dict[str, str]


@dataclass(frozen=True, slots=True)
class Topic:
    """One page.

    Attributes:
        about: What it explains, in one line.
        blocks: Paragraphs, and tables of what is typed and what that means.
        verbs: The verbs that it is about.
        page: The page of the documentation that has the whole of it.
    """

    about: str
    blocks: tuple[Block, ...]
    verbs: str
    page: str


TOPICS = {
    "connection": Topic(
        "How to reach a server, and prove the right to.",
        (
            (
                "One address is enough, and localhost:9000 is asked where none is named. Over "
                "gRPC, what a model says of itself is read from the REST port, which is the gRPC"
                " port less 1000, or what --metadata-url names."
            ),
            {
                "host:9000, grpc://host:9000": "gRPC.",
                "grpcs://host:9000": "gRPC over TLS.",
                "dns:///name:9000": "gRPC to all addresses of a name in turn; dnss:/// with TLS.",
                "http://host:8000": "REST; https:// with TLS.",
                "tfs://host:9000": "TensorFlow Serving's API, of OVMS up to 2026.2.",
            },
            (
                "TLS trusts the system's certificates, or those of --ca. --certificate and --key"
                " are for mutual TLS. --token-file is read again for each request, and --header "
                "may be repeated. Each option may be set by a variable, as `bert-qa help "
                "environment` lists."
            ),
        ),
        "ask, evaluate, compare, versions, switch, bench client, bench load, bench mlperf, "
        "bench profile, serve http-api",
        "docs/client.md",
    ),
    "data": Topic(
        "What --data, --eval-data and --input take.",
        (
            {
                "dev.json": "SQuAD 1.1 or 2.0, or a list of flat records.",
                "x.jsonl, x.ndjson": "JSON Lines.",
                "x.csv, x.tsv": "With commas, semicolons, tabs or bars.",
                "x.parquet": "With the extra 'parquet'.",
                "DIRECTORY[:SPLIT]": "What `datasets` saved, or files of data; extra 'build'.",
                "ID[@REVISION][:SPLIT]": "A data set of the Hugging Face hub; extra 'build'.",
                "-": "Standard input, for ask --input.",
            },
            (
                "JSON and CSV may be compressed, as in x.csv.gz. A flat record has question, "
                "context, and either answers, as `datasets` writes them and as JSON in a cell of"
                " a table, or answer with answer_start. A table needs no answer_start: the "
                "answer is looked up."
            ),
        ),
        "build, evaluate, compare, switch, inspect, ask, bench client, bench load, bench mlperf, "
        "bench peers, bench profile, bench tune",
        "docs/build.md",
    ),
    "environment": Topic(
        "The variables that are read.",
        (
            "What is typed takes precedence over a variable, and a variable over a file.",
            {
                "BERTQA_URL": "--url. So for --metadata-url, --ca, --certificate, --key, "
                "--server-name, --token, --token-file, --header (one a line) and --timeout: "
                "BERTQA_METADATA_URL and so on.",
                "BERTQA_API_TOKEN": "--api-token of the HTTP API; also BERTQA_API_TOKEN_FILE and "
                "BERTQA_CORS_ORIGIN (one a line).",
                "OVMS_BINARY": "The ovms program, if it is not on PATH.",
                "HELM, HELM_NAMESPACE": "The helm program, and the namespace of releases.",
                "NO_COLOR": "Anything in it: no colours. Pipes never have any.",
                "BERTQA_CONFIG": "A file of settings; see `bert-qa help configuration`.",
                "COLUMNS": "The width to print in, 80 in a pipe if it is not set.",
                "HTTPS_PROXY, NO_PROXY": "Proxies, never asked for this machine itself.",
            },
        ),
        "all",
        "docs/command-line.md",
    ),
    "configuration": Topic(
        "Setting options in a file.",
        (
            (
                "The nearest bertqa.toml, or [tool.bertqa] of a pyproject.toml, from this "
                "directory upwards, or the file that BERTQA_CONFIG names (nothing in it: none). "
                "What is typed comes first, then a variable, then the file, then the default."
            ),
            {
                'url = "grpcs://qa.example:9000"': "In front of all tables: for every verb that "
                "has --url. So for the connection, repository and work-dir.",
                "[ask]": "A table for a verb, [versions.show] for one below it.",
                "top-k = 3": "In it: an option without its dashes.",
                'header = ["x-team=search"]': "A list where an option may be repeated.",
            },
        ),
        "all",
        "docs/command-line.md",
    ),
    "exit-status": Topic(
        "What a script learns from the exit status.",
        (
            {
                "0": "Done.",
                "1": "Failed.",
                "2": "Wrong usage: nothing was begun.",
                "3": "Refused by the quality gate; --force overrides it.",
                "130": "Interrupted by Ctrl-C.",
                "143": "Ended by SIGTERM.",
            },
            (
                "Results go to standard output, everything else to standard error. With --json "
                "there is one document on standard output, for an error too: error, detail and "
                "status."
            ),
        ),
        "all",
        "docs/command-line.md",
    ),
    "json": Topic(
        "What --json promises, and its schemas.",
        (
            (
                "With --json there is one document on standard output, an object, for an error "
                "too: error, detail and status. None is printed where Ctrl-C or SIGTERM ends the "
                "command before it has a result."
            ),
            {
                "help json ask": "Print the JSON Schema of what a verb prints; one file, which a "
                "validator reads as it is.",
                "help json versions show": "That of a verb below another one.",
                "help json version": "That of bert-qa --version --json.",
                "help json error": "That of the error which all verbs share.",
            },
            (
                "Keys are stable: a minor version may add some, and what is to be taken away is in "
                "the changelog at least one minor version before. Scores and shares of traffic are "
                "in percent, sizes in bytes, durations in seconds, or in milliseconds where the "
                "key ends with _ms. What is not known is null."
            ),
        ),
        "all",
        "docs/json.md",
    ),
    "resume": Topic(
        "What an interrupted command keeps.",
        (
            "Run the same command again: it goes on where it was.",
            {
                "build": "Trainings go on at the last checkpoint in --work-dir, finished stages "
                "are kept.",
                "bench, bench peers, inspect --sensitivity": "What was measured is kept in "
                "--work-dir; --again measures it anew.",
                "ask --input --output": "Answers are in OUTPUT.partial until all are there.",
                "ask --on": "Parts of the output that are there are not asked again.",
                "switch": "The server or the release remembers the goal; --back undoes it, "
                "--status shows it.",
                "publish, pull": "Files that are there already are not sent again.",
            },
            "Another recipe, option or machine begins anew where its result would differ.",
        ),
        "build, bench, inspect, ask, switch, publish, pull",
        "docs/build.md",
    ),
    "gate": Topic(
        "When a version is not published, and what to do.",
        (
            "A version is published if it passes the limits of the recipe:",
            {
                "gate.min_f1": "The least F1; also min_exact_match.",
                "gate.max_f1_drop": "How far INT8 may fall below FP32, in points.",
                "gate.min_f1_ratio": "What share of FP32's F1 INT8 keeps.",
                "gate.min_pruned_f1_ratio": "What share of it a pruned version keeps.",
                "gate.max_latency_ratio": "How long INT8 may take, as a share of FP32's time.",
            },
            (
                "Otherwise the exit status is 3 and the message has each reason. What to try: "
                "more data to calibrate on, --method qat, or `bert-qa inspect N --sensitivity`, "
                "which finds the layers to list in quantization.keep_floating_point. --force "
                "publishes it all the same; versions and their manifests say so ever after."
            ),
        ),
        "build, publish, pull, switch",
        "docs/versions.md",
    ),
    "pruning": Topic(
        "Smaller versions, each so many times as fast.",
        (
            (
                "INT8 makes each operation cheap; pruning leaves out heads and neurons, as many "
                "as the speed that is asked for takes on this CPU, by measurement. It comes on "
                "top of INT8: look first whether that is enough. With --set it needs no recipe:"
            ),
            {
                "pruning.speedup=[1.5,2]": "How many times as fast as the unpruned version of the "
                "same precision: a pair of versions each.",
                "pruning.epochs_per_step=0": "Prune at once, without a training: minutes, and of "
                "use up to about 1.5. With it: hours on CPUs.",
                "pruning.latency_table=FILE": "Prune for another machine, where `bert-qa bench "
                "latency-table` wrote the file.",
                "gate.min_pruned_f1_ratio=0.95": "The least share of F1 that is kept; 0.9 if left "
                "out.",
            },
            (
                "--dry-run measures what layers of each size would bring, and keeps nothing. A "
                "build ends with speed and F1 of all versions; the same command shows that again, "
                "and `bert-qa inspect N M --report FILE` draws it. Measure on an idle machine."
            ),
        ),
        "build, bench latency-table, inspect",
        "docs/build.md",
    ),
    "traffic": Topic(
        "Which version answers whom.",
        (
            (
                "A server may have several versions in memory. A request that names none is "
                "answered by the default, the highest one that is available. `bert-qa switch` "
                "loads the new version, proves it, moves the traffic, and only then lets the old"
                " one go, so that no request fails."
            ),
            {
                "switch --to 2": "All traffic to version 2.",
                "switch --split 1=90,2=10": "By percents: clients and the HTTP API follow it.",
                "switch --back": "To the split before.",
                "switch --status": "Where it stands.",
                "ask --version 1": "One version, whatever the split.",
            },
        ),
        "switch, versions, ask, serve http-api",
        "docs/switching.md",
    ),
    "engines": Topic(
        "Which server `bert-qa serve` starts.",
        (
            {
                "ovms": "OpenVINO Model Server: --ovms, OVMS_BINARY, or on PATH.",
                "container": "Its image, where docker or podman has it.",
                "local": "An engine in Python with the same API; the extra 'serve'.",
            },
            (
                "auto takes the first of them that is there, and says why. What stands after -- "
                "goes to the server as it is."
            ),
        ),
        "serve",
        "docs/ovms.md",
    ),
    "completion": Topic(
        "Completing verbs and options with the Tab key.",
        (
            {
                "bert-qa --install-completion": "For the shell that it runs in.",
                "bert-qa --show-completion": "Print what that would add, to add it yourself.",
            },
            "It takes effect in the next shell: bash, zsh, fish and PowerShell.",
        ),
        "all",
        "docs/command-line.md",
    ),
}


def show_topics() -> None:
    """Print what there is to read about."""
    print_table(_pairs({name: topic.about for name, topic in TOPICS.items()}))
    stdout.print(
        "\nRead one with `bert-qa help TOPIC`, and all of a verb with `bert-qa VERB --help`.",
        soft_wrap=False,
    )


def show_topic(name: str) -> None:
    """Print one topic.

    Args:
        name: One of `TOPICS`.
    """
    topic = TOPICS[name]
    stdout.print(f"[bold]{escape(name)}[/]: {escape(topic.about)}")
    for block in topic.blocks:
        stdout.print()
        if isinstance(block, str):
            stdout.print(escape(block), soft_wrap=False)
        else:
            print_table(_pairs(block))
    stdout.print()
    stdout.print(f"[dim]Verbs: {escape(topic.verbs)}. More: {topic.page}.[/]", soft_wrap=False)


def _pairs(pairs: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", overflow="fold", max_width=32)
    table.add_column(overflow="fold", ratio=1)
    for name, meaning in pairs.items():
        table.add_row(f"  {name}", meaning)
    return table
