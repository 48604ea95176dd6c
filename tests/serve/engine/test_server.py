"""The local engine as others use it: started in a test, asked over both protocols."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from bertqa.errors import ConfigError
from bertqa_serve.engine import LocalServer
from bertqa_serve.errors import PortInUseError
from tests.support.models import model_info, write_config, write_toy_version
from tests.support.ports import free_port

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    repository = tmp_path_factory.mktemp("repository")
    for version in (1, 2):
        write_toy_version(repository, version)
    with LocalServer(write_config(repository), poll_seconds=0) as server:
        yield server


def tokens() -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array([[101, 2040, 102, 7592, 102]], dtype=np.int64)


def test_grpc_and_rest_return_the_same_logits_and_name_the_version(server: LocalServer) -> None:
    inputs = []
    for name in INPUTS:
        inputs.append(triton.InferInput(name, tokens().shape, "INT64"))
        inputs[-1].set_data_from_numpy(tokens())
    body = {
        "inputs": [
            {"name": n, "shape": tokens().shape, "datatype": "INT64", "data": tokens().tolist()}
            for n in INPUTS
        ]
    }
    url = f"http://127.0.0.1:{server.rest_port}/v2/models/bert-qa"
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        for version in ("1", "2"):
            by_grpc = client.infer("bert-qa", inputs, model_version=version)
            by_rest = httpx.post(f"{url}/versions/{version}/infer", json=body).json()
            assert by_grpc.get_response().model_version == by_rest["model_version"] == version
            for output in by_rest["outputs"]:
                data = np.array(output["data"], dtype=np.float32).reshape(output["shape"])
                np.testing.assert_array_equal(by_grpc.as_numpy(output["name"]), data)
        assert client.infer("bert-qa", inputs).get_response().model_version == "2"


def test_the_model_describes_itself_over_rest(server: LocalServer) -> None:
    url = f"http://127.0.0.1:{server.rest_port}/v2/models/bert-qa/versions/1"
    metadata = httpx.get(url).json()
    assert metadata["versions"] == ["1", "2"]
    assert metadata["rt_info"]["model_info"] == model_info().to_rt_info()


def test_a_port_that_is_taken_is_named(server: LocalServer, tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    config = write_config(tmp_path)
    with pytest.raises(PortInUseError, match=str(server.grpc_port)):
        LocalServer(config, grpc_port=server.grpc_port).start()
    with pytest.raises(PortInUseError, match=str(server.rest_port)):
        LocalServer(config, rest_port=server.rest_port).start()


def test_a_configuration_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "config.json"
    with pytest.raises(ConfigError, match=str(missing)):
        LocalServer(missing).start()
    missing.write_text('{"model_config_list": [{"config": {"name": 7}}]}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model_config_list\[0\]\.config\.name"):
        LocalServer(missing).start()


def test_the_log_is_whole_although_an_import_has_logged(tmp_path: Path) -> None:
    """As OpenVINO's does where it cannot write to the home."""
    write_toy_version(tmp_path, 1)
    code = (
        "import logging, sys; logging.warning('early');"
        "from bertqa_serve.engine.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    flags = ["--config_path", str(write_config(tmp_path)), "--port", str(free_port())]
    with subprocess.Popen(
        [sys.executable, "-c", code, *flags, "--rest_port", str(free_port())],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        last = next((line for line in process.stderr if "gRPC listens on port" in line), "")
        process.terminate()
        process.stderr.read()

    assert last.startswith("[20")
    assert "INFO" in last
