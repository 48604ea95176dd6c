"""ONNX Runtime's CPU provider in the pipeline of transformers 4."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertqa_build.bench.peers.contract import Job, Opened
from bertqa_build.bench.peers.pipeline import ways_of


@contextmanager
def opened(job: Job) -> Iterator[Opened]:
    """Load an ONNX model beside the files of a tokenizer; see `Open`."""
    import onnxruntime
    import torch
    from transformers import AutoConfig, PreTrainedModel

    file = Path(job.path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(job.cores)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    taken = [each.name for each in session.get_inputs()]

    class Model(PreTrainedModel):  # type: ignore[no-untyped-call]
        """What the pipeline takes for a model of PyTorch."""

        def __init__(self) -> None:
            super().__init__(AutoConfig.from_pretrained(file.parent, local_files_only=True))
            self.device_of = torch.nn.Parameter(torch.zeros(1))

        def forward(self, **inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            feeds = {name: inputs[name].numpy() for name in taken}
            start, end = session.run(["start_logits", "end_logits"], feeds)
            return torch.from_numpy(start), torch.from_numpy(end)

    yield Opened(ways_of(Model(), file.parent, job), ("onnxruntime-openvino", "transformers"))
