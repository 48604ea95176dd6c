"""A switch that runs in the cluster: its Job, its log, and what may happen to either."""

from __future__ import annotations

import base64
import io
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bertqa_cli.app import main
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.job import Ended, start_or_attach
from bertqa_deploy.cluster.job_api import JobApi
from bertqa_deploy.cluster.job_input import job_input
from tests.deploy.cluster.conftest import CHART, NAMESPACE, RELEASE
from tests.deploy.cluster.job.conftest import DOCUMENT, NAME, TO_2, Typed, refusal
from tests.deploy.cluster.jobs import JobServer, Run, final
from tests.support.documents import check_document
from tools.programs import helm


def test_it_shows_what_the_switch_prints_and_ends_as_it_does(
    typed: Typed, server: JobServer
) -> None:
    server.runs = [Run(["• version 2 answers '1932'", *DOCUMENT.splitlines()])]
    ended = typed(*TO_2, "--json")
    assert ended == Ended(0, DOCUMENT)
    assert typed.lines == ["• version 2 answers '1932'"]
    assert typed.steps == [f"The Job {NAME} runs this in the cluster."]


@pytest.mark.parametrize("status", [1, 2, 3])
def test_a_status_of_the_command_ends_the_job_and_is_the_result(
    typed: Typed, server: JobServer, status: int
) -> None:
    server.runs = [Run(["error: no"], status=status)]
    assert typed() == Ended(status, "")
    assert typed.lines == ["error: no"]
    assert len(server.pods_of_jobs()) == 1


def test_the_job_runs_the_same_command_with_the_chart_and_the_questions(
    typed: Typed, server: JobServer, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.json"
    questions.write_text('{"data": []}', encoding="utf-8")
    typed(
        *TO_2,
        "--chart=elsewhere",
        "--data",
        "questions.json",
        "--verify-key",
        "k.pem",
        data=questions,
    )

    job = server.job()
    assert job is not None
    pod = job["spec"]["template"]["spec"]
    given = ["--release", RELEASE, "--namespace", NAMESPACE, "--chart", "/tmp/chart"]
    words = ["switch", "--to", "2", *given, "--data", "/input/questions.json"]
    assert pod["containers"][0]["args"] == words
    assert pod["serviceAccountName"] == NAME

    content = server.config_map(NAME)
    assert content["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    files = {name: base64.b64decode(each) for name, each in content["binaryData"].items()}
    assert files["questions.json"] == questions.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(files["chart.tgz"])) as archive:
        archive.extractall(tmp_path, filter="data")
    kept = {p.relative_to(CHART): p.read_bytes() for p in CHART.rglob("*") if p.is_file()}
    there = tmp_path / "chart"
    assert {p.relative_to(there): p.read_bytes() for p in there.rglob("*") if p.is_file()} == kept


def test_the_job_starts_again_what_was_killed_and_cleans_up(
    typed: Typed, server: JobServer
) -> None:
    typed()
    job = server.job()
    assert job is not None
    assert final(job["spec"])[:3] == [1, 2, 3]
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_input_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    def digest(chart: Path) -> str:
        return job_input(TO_2, RELEASE, NAMESPACE, chart, None).sha256

    for name in ("one", "two"):
        (tmp_path / name / "templates").mkdir(parents=True)
        (tmp_path / name / "Chart.yaml").write_text("name: bert-qa\n", encoding="utf-8")
        (tmp_path / name / "templates" / "a.yaml").write_text("a", encoding="utf-8")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    (tmp_path / "two" / "templates" / "a.yaml").write_text("b", encoding="utf-8")
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_a_pod_that_was_killed_is_replaced_and_followed(typed: Typed, server: JobServer) -> None:
    server.runs = [Run(["one"], status=137), Run(["two", "three"])]
    assert typed().status == 0
    assert typed.lines[-2:] == ["two", "three"]
    assert typed.lines.count("one") <= 1


def test_a_switch_that_is_killed_again_and_again_fails(typed: Typed, server: JobServer) -> None:
    server.runs = [Run(["again"], status=137) for _ in range(20)]
    assert typed().status == 1
    assert "backoff limit" in typed.steps[-1]
    assert "status 137" in typed.steps[-1]


def test_each_line_is_shown_once_whatever_breaks(typed: Typed, server: JobServer) -> None:
    lines = [f"line {number}" for number in range(6)]
    server.runs = [Run(lines, breaks=4)]
    assert typed().status == 0
    assert typed.lines == lines


def test_an_api_server_that_restarts_is_waited_for(typed: Typed, server: JobServer) -> None:
    ended = threading.Event()
    server.runs = [Run(["one"], until=ended)]

    def restart(line: str) -> None:
        typed.lines.append(line)
        server.away = 5
        ended.set()

    ended_there = start_or_attach(typed.release, TO_2, on_line=restart, on_step=typed.steps.append)
    assert ended_there.status == 0
    assert "The cluster does not answer at the moment." in typed.steps
    assert server.away == 0


def test_the_same_command_attaches_and_another_is_refused(typed: Typed, server: JobServer) -> None:
    ended, shown = threading.Event(), threading.Event()
    server.runs = [Run(["one", "two"], until=ended)]

    def show(line: str) -> None:
        if line == "two":
            shown.set()

    first, second = Typed(typed.release), Typed(typed.release)
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(start_or_attach, first.release, TO_2, on_line=show, on_step=print)
        try:
            assert shown.wait(30)
            other = refusal(typed, "--back", "--in-cluster")
            assert "Another switch of the release bert-qa runs" in other
            assert "`bert-qa switch --to 2`" in other
            shown.clear()
            second.lines = Lines(shown)
            attached = pool.submit(second)
            assert shown.wait(30)
        finally:
            ended.set()
        assert running.result() == attached.result() == Ended(0, "")
    assert second.lines == ["one", "two"]
    assert second.steps == [f"The Job {NAME} runs this in the cluster already."]
    assert len(server.pods_of_jobs()) == 1


class Lines(list[str]):
    """Lines, and an event for when there are two."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._event = event

    def append(self, line: str) -> None:
        super().append(line)
        if len(self) == 2:
            self._event.set()


def interrupted(typed: Typed, server: JobServer, run: Run) -> threading.Event:
    """Start a switch, and press Ctrl-C at its first line; it ends when the event is set."""
    run.until = threading.Event()
    server.runs = [run]

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_or_attach(typed.release, TO_2, on_line=interrupt, on_step=typed.steps.append)
    return run.until


def test_ctrl_c_leaves_the_switch_and_the_result_is_there_later(
    typed: Typed, server: JobServer
) -> None:
    ended = interrupted(typed, server, Run(["one", *DOCUMENT.splitlines()]))
    assert "The switch continues in the cluster. The same command attaches again" in typed.steps[-1]
    job = server.job()
    assert job is not None
    assert not job["spec"]["suspend"]

    ended.set()
    assert typed() == Ended(0, DOCUMENT)
    assert typed.lines == ["one"]
    assert len(server.pods_of_jobs()) == 1, "it is not run twice"

    server.runs = [Run(["again"])]
    assert typed() == Ended(0, "")
    assert typed.lines[1:] == ["again"], "what was reported is done"


def test_an_unseen_failure_is_shown_before_the_next_try(typed: Typed, server: JobServer) -> None:
    ended = interrupted(typed, server, Run(["error: it failed"], status=1))
    ended.set()
    server.runs = [Run(["it works"])]
    assert typed().status == 0
    assert typed.lines == ["error: it failed", "it works"]
    assert "The switch that ran in the cluster last, `bert-qa switch --to 2`:" in typed.steps


def test_what_another_command_came_to_is_shown_and_then_it_is_replaced(
    typed: Typed, server: JobServer
) -> None:
    ended = interrupted(typed, server, Run(["the split is 2=100"]))
    ended.set()
    finish(server)
    server.runs = [Run(["the split is 1=100"])]
    assert typed("--back", "--in-cluster").status == 0
    assert typed.lines == ["the split is 2=100", "the split is 1=100"]


def finish(server: JobServer) -> None:
    with server._lock:
        server._control()


def test_a_job_whose_maker_was_killed_before_it_ran_is_started(
    typed: Typed, server: JobServer
) -> None:
    api = JobApi(typed.release.access, RELEASE)
    api.create(api.template(), job_input(TO_2, RELEASE, NAMESPACE, CHART, None))
    server.runs = [Run(["one"])]
    assert typed().status == 0
    assert typed.lines == ["one"]


@pytest.mark.parametrize("status", [0, 3])
def test_with_json_there_is_a_document_also_where_the_log_has_none(
    release: Callable[..., Helm],
    server: JobServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    release("--set", "switch.enabled=true")
    monkeypatch.setenv("HELM", str(helm()))
    server.runs = [Run(["half a document", "{"], status=status)]
    assert main((*("switch", *TO_2), "--chart", str(CHART), "--json")) == status
    shown = check_document(["switch"], capsys.readouterr().out)
    assert shown["status"] == status
    assert "does not hold its result" in shown["error"]
