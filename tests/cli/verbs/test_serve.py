from __future__ import annotations

import itertools
import json
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest
from tritonclient import grpc as triton

from bertqa import QAClient
from bertqa.artifact import Repository
from bertqa.qa import QATokenizer
from tests.cli.conftest import Invoke, Result, serving
from tests.support.models import tokenizer_json, write_config, write_toy_version
from tests.support.ports import free_port

CONTEXT = (
    "Rouen is the capital of Normandy. The Normans gave their name to the region in the 10th and "
    "11th centuries; they were descended from Norse raiders from Denmark, Iceland and Norway."
)
QUESTION = "What is the capital of Normandy?"


@pytest.fixture
def two_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def test_both_versions_answer_alike_over_grpc_rest_curl_and_tritonclient(
    demo_repository: Repository, two_ports: tuple[int, int]
) -> None:
    port, rest_port = map(str, two_ports)
    options = ("--engine", "local", "--repository", str(demo_repository.root), "--no-warm-up")
    ports = ("--port", port, "--rest-port", rest_port)
    with serving(*options, *ports, seconds=30) as (server, _):
        grpc_url, rest_url = server["grpc_url"], server["rest_url"]
        with (
            QAClient(grpc_url, metadata_url=rest_url) as over_grpc,
            QAClient(rest_url) as over_rest,
        ):
            for version in (1, 2):
                answer = over_grpc.answer(QUESTION, CONTEXT, version=version)
                assert answer.text == "Rouen"
                assert answer.model_version == version
                assert over_rest.answer(QUESTION, CONTEXT, version=version) == answer
                logits = ask_with_tritonclient(grpc_url, version)
                assert logits == pytest.approx(ask_with_curl(rest_url, version), abs=1e-4)
                assert CONTEXT[slice(*best_span(logits))] == answer.text
                in_text = httpx.post(
                    f"{server['http_url']}/v1/answers",
                    json={"question": QUESTION, "context": CONTEXT, "version": version},
                    timeout=60,
                )
                assert in_text.json()["answers"][0]["text"] == answer.text
                assert in_text.headers["x-model-version"] == str(version)
    for url in (f"{rest_url}/v2/health/live", server["http_url"]):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, timeout=60)


def window() -> tuple[dict[str, list[int]], list[tuple[int, int]]]:
    """What a user who writes their own client sends, and each token's place in the context."""
    (only,) = QATokenizer.from_json(tokenizer_json()).windows(QUESTION, CONTEXT)
    inputs = {
        name: getattr(only, name).tolist()
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    return inputs, [(int(start), int(end)) for start, end in only.offsets]


def ask_with_curl(rest_url: str, version: int) -> list[float]:
    inputs, _ = window()
    body = {
        "inputs": [
            {"name": name, "shape": [1, len(ids)], "datatype": "INT64", "data": ids}
            for name, ids in inputs.items()
        ]
    }
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl on PATH")
    url = f"{rest_url}/v2/models/bert-qa/versions/{version}/infer"
    answered = subprocess.run(
        [curl, "--silent", "--fail", "--data", json.dumps(body), url],
        capture_output=True,
        check=True,
    )
    outputs = {output["name"]: output["data"] for output in json.loads(answered.stdout)["outputs"]}
    return [*outputs["start_logits"], *outputs["end_logits"]]


def ask_with_tritonclient(grpc_url: str, version: int) -> list[float]:
    tensors = []
    for name, ids in window()[0].items():
        tensor = triton.InferInput(name, [1, len(ids)], "INT64")
        tensor.set_data_from_numpy(np.array([ids], dtype=np.int64))
        tensors.append(tensor)
    with triton.InferenceServerClient(grpc_url) as client:
        result = client.infer("bert-qa", tensors, model_version=str(version))
    return [
        float(logit)
        for name in ("start_logits", "end_logits")
        for logit in result.as_numpy(name).ravel()
    ]


def best_span(logits: list[float]) -> tuple[int, int]:
    _, offsets = window()
    inside = [index for index, (start, _) in enumerate(offsets) if start >= 0]
    starts, ends = np.array(logits).reshape(2, -1)
    first = max(inside, key=lambda index: starts[index])
    last = max(inside, key=lambda index: ends[index])
    return offsets[first][0], offsets[last][1]


def test_a_dry_run_prints_the_command_and_starts_nothing(invoke: Invoke, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    write_config(tmp_path)

    result = invoke(
        "serve", "--repository", str(tmp_path), "--engine", "local", "--dry-run", "--port", "9123"
    )

    assert result.status == 0
    assert "--port 9123" in result.out
    assert f"--config_path {tmp_path / 'config.json'}" in result.out


def test_settings_are_options_and_contradictions_are_beside_the_command(
    invoke: Invoke, tmp_path: Path
) -> None:
    write_toy_version(tmp_path, 1)
    result = invoke(
        *("serve", "--repository", str(tmp_path), "--engine", "local", "--dry-run", "--json"),
        *("--grpc-threads", "33", "--concurrent-streams", "44", "--rest-workers", "55"),
        *("--poll-seconds", "6", "--log-level", "debug"),
    )

    assert result.status == 0
    command = json.loads(result.out)["command"]
    options = dict(itertools.pairwise(command))
    assert options["--grpc_max_threads"] == "33"
    assert options["--grpc_channel_arguments"].startswith("grpc.max_concurrent_streams=44,")
    assert options["--rest_workers"] == "55"
    assert options["--file_system_poll_wait_seconds"] == "6"
    assert options["--log_level"] == "DEBUG"
    contradiction = "grpc_max_threads (33) is not above grpc.max_concurrent_streams (44): "
    assert " ".join(result.err.split()).count(contradiction) == 1


def test_numbers_that_the_server_cannot_read_are_refused(invoke: Invoke, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    for option in ("--concurrent-streams", "--grpc-threads", "--poll-seconds", "--rest-workers"):
        result = invoke("serve", "--repository", str(tmp_path), "--dry-run", option, "3000000000")

        assert result.status == 2
        assert f"'{option}': 3000000000 is not in the range" in " ".join(result.err.split())


def test_a_log_level_that_there_is_not_is_named(invoke: Invoke, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    asked = ("serve", "--repository", str(tmp_path), "--engine", "local", "--log-level", "loud")
    result = invoke(*asked)

    assert result.status == 2
    assert "'loud' is not one of 'trace', 'debug', 'info'" in result.err


def refused(result: Result, expected: str, status: int = 1) -> None:
    assert result.status == status
    assert expected in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--port", "9000", "--rest-port", "9000"), "--port and --rest-port are both 9000"),
        (
            ("--port", "9000", "--http-port", "9000"),
            "--http-port is 9000, which is the port of gRPC",
        ),
        (("--record", "/missing/log.jsonl"), "Invalid value for '--record'"),
        (("--http-port", "8000"), "--http-port is 8000, which is the port of REST"),
    ],
)
def test_one_port_for_two_is_refused_once_and_before_anything_starts(
    invoke: Invoke, tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    result = invoke("serve", "--repository", str(tmp_path), "--engine", "local", *options)
    assert result.status == 2
    assert result.err.startswith(f"error: {complaint}")
    assert result.err.count("\n") <= 2


def test_a_repository_that_is_not_there_is_named(invoke: Invoke, tmp_path: Path) -> None:
    absent = tmp_path / "absent"

    refused(invoke("serve", "--repository", str(absent), "--engine", "local"), str(absent))
    assert not absent.exists()


def test_an_empty_repository_is_named(invoke: Invoke, tmp_path: Path) -> None:
    refused(invoke("serve", "--repository", str(tmp_path), "--engine", "local"), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_model_is_reported(
    invoke: Invoke, tmp_path: Path, two_ports: tuple[int, int]
) -> None:
    directory = write_toy_version(tmp_path, 1)
    (directory / "model.xml").write_text("<net")
    write_config(tmp_path)

    result = invoke(
        *("serve", "--repository", str(tmp_path), "--engine", "local"),
        *("--port", str(two_ports[0]), "--rest-port", str(two_ports[1])),
    )

    refused(result, "No version of bert-qa could be loaded")


def test_a_port_in_use_is_named(invoke: Invoke, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    write_config(tmp_path)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        result = invoke(
            *("serve", "--repository", str(tmp_path), "--engine", "local"),
            *("--port", str(port), "--rest-port", str(free_port())),
        )

    refused(result, f"Port {port} on 127.0.0.1 cannot be used")


def test_an_ovms_that_cannot_be_run_is_named(invoke: Invoke, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    absent = tmp_path / "ovms"

    result = invoke("serve", "--repository", str(tmp_path), "--ovms", str(absent))
    refused(result, str(absent), status=2)
