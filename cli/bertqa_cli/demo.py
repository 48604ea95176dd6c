"""`make demo`: the commands a user would type, one after the other, and what came of them."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from rich.markup import escape
from rich.table import Table

from bertqa import Answer, QAClient
from bertqa.artifact import MODEL_NAME, Repository, int8_advice, int8_products
from bertqa.evaluation import Samples, time_call
from bertqa_cli.connection import VARIABLES
from bertqa_cli.console import print_error, print_table, stdout
from bertqa_cli.errors import Status
from bertqa_cli.formatting import directory_size, headline, highlighted, human_size
from bertqa_cli.options import DEFAULT_REPOSITORY
from bertqa_cli.settings import VARIABLE as CONFIG_VARIABLE
from bertqa_serve.errors import PortInUseError
from bertqa_serve.ports import free_ports

RECIPE = "build/recipes/demo.yaml"
VERSIONS = (1, 2)
LATENCY_REPEATS = 30
_FASTER = 1.1
STOP_TIMEOUT = 30.0
QUESTION = "How many miles per second does light travel?"
CONTEXT = (
    "In 1862 Léon Foucault measured the speed of light with a rotating mirror and found 298,000 "
    "kilometres per second. Today the metre is defined by it: light travels 299,792,458 metres, or "
    "186,282 miles, in a second. Nothing that carries information is faster."
)


def main() -> int:
    """Build, serve, ask over gRPC and REST, compare, and return the exit status."""
    try:
        _explain(
            "1. Build",
            "A fine-tuned checkpoint becomes version 1, as it is (FP32), and version 2 in INT8: "
            "ten steps of training with rounded weights let it learn to answer as well. Both are "
            "scored on the same questions, and a version that is worse is not published.",
        )
        _run("build", RECIPE)
        _explain(
            "2. Serve",
            "One server has both versions, so that traffic can move from one to the other. It is "
            "OpenVINO Model Server where that is installed, and else a local engine.",
        )
        with _server() as (grpc_url, rest_url):
            _explain(
                "3. Ask",
                "The client reads the tokenizer from the served model, and finds the answer's "
                "place in the text. gRPC is the faster way, and REST passes every proxy.",
            )
            for version, url in zip(VERSIONS, (grpc_url, rest_url), strict=True):
                ask = ("ask", QUESTION, "--context", CONTEXT)
                _run(*ask, "--version", str(version), "--url", url)
            _summary(grpc_url)
        _next()
    except subprocess.CalledProcessError as error:
        # A negative one is the signal that ended the command, which a shell adds to 128.
        return error.returncode if error.returncode >= 0 else 128 - error.returncode
    except PortInUseError as error:
        print_error(str(error))
        return Status.FAILED
    except KeyboardInterrupt:
        return Status.INTERRUPTED
    return Status.DONE


def _explain(title: str, why: str) -> None:
    stdout.print(f"\n[bold]{title}.[/] {escape(why)}")


def _next() -> None:
    stdout.print(
        "\n[bold]Next.[/] `. .venv/bin/activate` puts the command on PATH; then\n"
        "  bert-qa serve              serves both versions: open http://localhost:8080 to ask\n"
        "  bert-qa switch --to 2      moves the traffic to INT8, and --back returns\n"
        "  bert-qa init recipe.yaml   begins a recipe for your own checkpoint\n"
        "docs/tutorial.md goes through all of it."
    )


def _speed(fp32_seconds: float, int8_seconds: float) -> str:
    """Return what INT8 gains on this CPU, and why not where it does not."""
    quick = int8_products()
    ratio = fp32_seconds / int8_seconds
    if ratio > _FASTER:
        kind = f" (this CPU has {', '.join(quick)})" if quick else ""
        return f"INT8 is a quarter of the size and answers {ratio:.1f} times as fast{kind}."
    return (
        int8_advice()
        or "INT8 is a quarter of the size, and not faster here: a context as short as this one "
        "takes little computing, and texts of some hundred words and many questions at once gain "
        "more."
    )


def _run(*arguments: str) -> None:
    shown = shlex.join(argument if len(argument) < 80 else "…" for argument in arguments)
    stdout.print(f"\n[bold cyan]$ bert-qa {escape(shown)}[/]")
    command = [sys.executable, "-m", "bertqa_cli.main", *arguments]
    subprocess.run(command, check=True, env=_environment())


def _environment() -> dict[str, str]:
    """Return the environment without settings: the demo asks its own server, whatever they say."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    return {**own, CONFIG_VARIABLE: ""}


@contextlib.contextmanager
def _server() -> Iterator[tuple[str, str]]:
    grpc_port, rest_port = free_ports()
    ports = ("--port", str(grpc_port), "--rest-port", str(rest_port))
    arguments = ["serve", *ports, "--no-http-api", "--no-warm-up"]  # Ready seconds sooner.
    stdout.print(f"\n[bold cyan]$ bert-qa {escape(shlex.join(arguments))} &[/]")
    process = subprocess.Popen(
        [sys.executable, "-m", "bertqa_cli.main", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    try:
        _wait_until_ready(process)
        yield f"localhost:{grpc_port}", f"http://localhost:{rest_port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Print the lines of `bert-qa serve` until one reports that the model is ready."""
    assert process.stdout is not None
    for line in process.stdout:
        stdout.print(line.rstrip(), markup=False)
        if f"{MODEL_NAME} is ready" in line:
            return
    raise subprocess.CalledProcessError(process.wait() or 1, process.args)


def _summary(url: str) -> None:
    repository = Repository(DEFAULT_REPOSITORY)
    table = Table("version", "precision", "size on disk", "exact match", "F1", "median latency")
    answers: list[Answer] = []
    seconds: list[float] = []
    with QAClient(url) as client:
        for version in VERSIONS:
            answers.append(client.answer(QUESTION, CONTEXT, version=version))
            manifest = repository.manifest(version)
            scores = manifest.scores
            assert scores is not None
            seconds.append(_median_latency(client, version))
            table.add_row(
                str(version),
                manifest.precision,
                human_size(directory_size(repository.version_dir(version))),
                f"{scores.exact_match:.2f}",
                f"{scores.f1:.2f}",
                f"{seconds[-1] * 1000:.1f} ms",
            )
    stdout.print()
    print_table(table)
    for answer in answers:
        stdout.print(headline(answer))
        stdout.print(highlighted(answer, CONTEXT))
    stdout.print(escape(_speed(*seconds)))


def _median_latency(client: QAClient, version: int) -> float:
    ask = partial(client.answer, QUESTION, CONTEXT, version=version)
    return Samples(tuple(time_call(ask) for _ in range(LATENCY_REPEATS))).median


if __name__ == "__main__":
    sys.exit(main())
