"""The examples of docs/client.md, run from the first to the last against the local engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bertqa_serve.engine.server import LocalServer
from tests.support.models import tokenizer_json, write_config, write_toy_version
from tests.support.ports import free_pair

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    repository = tmp_path / "model_repository"
    for version in (1, 2):
        write_toy_version(repository, version)
    config = write_config(repository)
    grpc_port, rest_port = free_pair()
    with LocalServer(config, grpc_port=grpc_port, rest_port=rest_port, tensorflow_serving=True):
        yield grpc_port, rest_port


def test_the_examples_run(
    ports: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    certificate = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path("ca.pem")
    certificate.cert_chain_pems[0].write_to_path("client.pem")
    certificate.private_key_pem.write_to_path("client.key")
    Path("tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")

    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 9
    names: dict[str, object] = {}
    for number, example in enumerate(examples):
        code = example.replace("localhost:9000", f"localhost:{ports[0]}")
        code = code.replace("localhost:8000", f"localhost:{ports[1]}")
        exec(compile(code, f"{PAGE.name}, example {number + 1}", "exec"), names)
