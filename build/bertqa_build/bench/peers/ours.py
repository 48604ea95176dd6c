"""What this project publishes: in this process, or served, by its own client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bertqa import QAClient
from bertqa.qa import PipelineDecoder
from bertqa_build.bench.peers.contract import OWN, Job, Opened, Pair
from bertqa_serve.command import EngineKind
from bertqa_serve.launcher import running
from bertqa_serve.options import ServeOptions
from bertqa_serve.ports import free_ports


@contextmanager
def opened(job: Job) -> Iterator[Opened]:
    """Load a version, or serve it; see `Open`."""
    if job.kind == "in-process":
        folder = Path(job.path) / job.model / str(job.version)
        with QAClient.local(folder) as client:
            yield _asked_by(client, job, "openvino")
        return
    port, rest_port = free_ports()
    engine = EngineKind.OVMS if job.kind == "ovms" else EngineKind.LOCAL
    options = ServeOptions(Path(job.path), engine, model=job.model, port=port, rest_port=rest_port)
    with (
        running(options, log=lambda _: None) as server,
        QAClient(server.grpc_url, model=job.model) as client,
    ):
        program = server.engine.program if engine is EngineKind.OVMS else ""
        yield _asked_by(client, job, "openvino", note=str(program))


def _asked_by(client: QAClient, job: Job, *packages: str, note: str = "") -> Opened:
    decoder = PipelineDecoder(handle_impossible_answer=job.may_be_impossible)

    def ask(pairs: Sequence[Pair]) -> list[str]:
        return [
            each.text for each in client.answer_many(pairs, decoder=decoder, version=job.version)
        ]

    return Opened({OWN: ask}, ("bertqa", *packages), note)
