"""The deployment's container: the image's own command and arguments, on each engine there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bertqa import QAClient
from bertqa_deploy.azureml.files import Files
from bertqa_serve.command import EngineKind, local_program
from bertqa_serve.selection import choose_engine
from tests.deploy.azureml.conftest import AZUREML, PROJECT
from tests.support.models import write_toy_version
from tests.support.ports import free_port

DOCKERFILE = PROJECT / "deploy" / "docker" / "azureml-serve.Dockerfile"
VERSION = 2


def program(kind: str) -> str:
    if kind == EngineKind.LOCAL:
        return f"{local_program()} -m bertqa_serve.engine"
    return str(choose_engine(kind).program)


def entry_point(server: str) -> list[str]:
    """Return the image's command, with another server than `ovms`."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    found = re.search(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    assert found
    return [each.replace("/ovms/bin/ovms", server) for each in json.loads(found[1])]


@contextmanager
def container(kind: str, model_directory: Path, log: Path) -> Iterator[dict[str, str]]:
    """Run the image's entry point with the deployment's environment; return its routes' URLs.

    The program and the two ports are this machine's; all else is as it is written.
    """
    command = entry_point(program(kind))
    files, port = Files(AZUREML), free_port()
    deployment = files.read("deployment").content
    arguments = deployment["environment_variables"]["OVMS_ARGUMENTS"]
    arguments = arguments.replace("--rest_port=8000", f"--rest_port={port}")
    arguments = arguments.replace("--port=9000", f"--port={free_port()}")
    environment = {
        **os.environ,
        "AZUREML_MODEL_DIR": str(model_directory),
        "OVMS_ARGUMENTS": arguments,
    }
    routes = files.read("environment-serve").content["inference_config"]
    assert {route["port"] for route in routes.values()} == {8000}
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment, stderr=output) as server,
    ):
        try:
            yield {
                name.removesuffix("_route"): f"http://127.0.0.1:{port}{route['path']}"
                for name, route in routes.items()
            }
        finally:
            server.terminate()


def test_the_endpoint_s_routes_answer(engine: str, tmp_path: Path) -> None:
    """Azure mounts a model at <mount>/<name>/<version>/<its directory>."""
    mounted = tmp_path / "models" / "bert-qa" / str(VERSION)
    written = write_toy_version(tmp_path / "repository", VERSION)
    mounted.mkdir(parents=True)
    written.rename(mounted / written.name)
    tensor = {"shape": [1, 3], "datatype": "INT64", "data": [1, 1, 1]}
    names = ("input_ids", "attention_mask", "token_type_ids")
    request = {"inputs": [{"name": name, **tensor} for name in names]}
    with container(engine, mounted, tmp_path / "log") as routes:
        until_ready(routes["readiness"], tmp_path / "log")
        assert httpx.get(routes["liveness"]).status_code == 200
        scored = httpx.post(routes["scoring"], json=request).json()
        assert (scored["model_name"], scored["model_version"]) == ("bert-qa", str(VERSION))
        assert {each["name"] for each in scored["outputs"]} == {"start_logits", "end_logits"}

        with QAClient(
            routes["scoring"].removesuffix("/v2/models/bert-qa/infer"), token="key"
        ) as qa:
            answer = qa.answer("When?", "1932")
        assert (answer.text, answer.model_version) == ("1932", VERSION)


def until_ready(url: str, log: Path) -> None:
    """Ask as Azure's probe does, until the model is loaded."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_no_variable_is_evaluated_by_a_shell(tmp_path: Path) -> None:
    arguments = f"--a=$(touch {tmp_path}/made) `touch made` ; touch made & * $HOME \\n 'x y'"
    environment = {"OVMS_ARGUMENTS": f"{arguments}\n--last", "AZUREML_MODEL_DIR": "$(touch made) *"}
    done = subprocess.run(
        entry_point("printf %s\\\\n"),
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    words = [*arguments.split(" "), "--last"]
    assert done.stdout.splitlines() == ["--model_path=$(touch made) *", *words]
    assert not any(tmp_path.iterdir())
