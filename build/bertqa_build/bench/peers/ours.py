"""What this project publishes: in this process, or served, by its own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bertqa import QAClient
from bertqa.qa import PipelineDecoder
from bertqa.runtime import Engine, load
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
        engine = _KeptOpen(load(folder))
        yield _asked_by(lambda: QAClient(transport=engine), job)
        return
    port, rest_port = free_ports()
    kind = EngineKind.OVMS if job.kind == "ovms" else EngineKind.LOCAL
    options = ServeOptions(Path(job.path), kind, model=job.model, port=port, rest_port=rest_port)
    with running(options, log=lambda _: None) as server:
        program = f"The program is {server.engine.program}." if kind is EngineKind.OVMS else ""
        yield _asked_by(lambda: QAClient(server.grpc_url, model=job.model), job, program)


class _KeptOpen:
    """A model in this process that stays when its client is closed."""

    def __init__(self, engine: Engine) -> None:
        self.infer = engine.infer
        self.metadata = engine.metadata

    def close(self) -> None:
        """Leave it open; see `Transport.close`."""


def _asked_by(connect: Callable[[], QAClient], job: Job, note: str = "") -> Opened:
    """Return a peer that each pass asks with a new client, which has met no text yet."""
    decoder = PipelineDecoder(handle_impossible_answer=job.may_be_impossible)

    def ask(pairs: Sequence[Pair]) -> list[str]:
        with connect() as client:
            answers = client.answer_many(pairs, decoder=decoder, version=job.version)
            return [each.text for each in answers]

    return Opened({OWN: ask}, ("bertqa", "openvino"), note)
