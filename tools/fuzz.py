"""Send damaged requests to a server, and check its answers.

    python -m tools.fuzz [--requests 100000] [--seed 0]

starts the local engine as a process, sends the requests over REST and gRPC, and prints how they
were answered and how the engine's memory grew. It fails where a request is not answered with one of
the server's own errors, where the engine ends, and where its memory keeps growing.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from tests.support.models import write_config, write_toy_version
from tests.support.servers import AsProcess

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
REST_STATUSES = frozenset({200, 400, 404, 406, 412, 413, 500})
GRPC_CODES = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "UNIMPLEMENTED"})
MEMORY_LIMIT_MEBIBYTES = 48
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**30, "", "x", "\x00", "é"),
    *([], [[]], {}, [None], [1, "1"], {"": {}}, "INT64", "FP32", "BYTES", "input_ids"),
)
_PATHS = (
    *("/v2/models/bert-qa/infer", "/v2/models/bert-qa/versions/1/infer"),
    *("/v2/models/bert-qa/versions/99999999999999999999/infer", "/v2/models/%00/infer"),
    *("/v2/models/bert-qa", "/v1/config", "/v2/health/live", "/metrics", "/%ff", "/v2/models/"),
)


class UnexpectedAnswerError(AssertionError):
    """A server answered in a way that it must not."""


def fuzz(host: str, grpc_port: int, rest_port: int, requests: int, seed: int) -> Counter[str]:
    """Send damaged requests and count the answers.

    Args:
        host: The server's host.
        grpc_port: Its gRPC port.
        rest_port: Its REST port.
        requests: How many to send.
        seed: The same seed sends the same requests.

    Returns:
        The number of answers by their status.

    Raises:
        UnexpectedAnswerError: The server answered in a way that it must not.
    """
    rng = random.Random(seed)
    answers: Counter[str] = Counter()
    rest = http.client.HTTPConnection(host, rest_port, timeout=60)
    with grpc.insecure_channel(f"{host}:{grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        kinds: tuple[Callable[[], str], ...] = (
            lambda: _rest(rest, rng, _damaged(rng, _json_body())),
            lambda: _rest(rest, rng, json.dumps(_odd(rng, _content())).encode()),
            lambda: _grpc(infer, _damaged(rng, _message().SerializeToString())),
            lambda: _grpc(infer, _odd_message(rng).SerializeToString()),
        )
        for index in range(requests):
            if index % 500 == 0:
                _garbage(host, (rest_port, grpc_port)[index % 1000 // 500], rng)
            answers[rng.choice(kinds)()] += 1
    rest.close()
    return answers


def _content() -> dict[str, Any]:
    tensor = {"shape": [2, 3], "datatype": "INT64", "data": [[101, 7, 102], [101, 8, 102]]}
    return {
        "id": "1",
        "inputs": [{"name": name, **tensor} for name in INPUTS],
        "outputs": [{"name": "end_logits", "parameters": {"binary_data": True}}],
        "parameters": {"binary_data_output": False},
    }


def _json_body() -> bytes:
    return json.dumps(_content()).encode()


def _message() -> Any:
    message = service_pb2.ModelInferRequest(model_name="bert-qa", model_version="2")
    for name in INPUTS:
        message.inputs.add(name=name, datatype="INT64", shape=[1, 2])
        message.raw_input_contents.append(bytes(16))
    return message


def _damaged(rng: random.Random, body: bytes) -> bytes:
    """Change, remove, duplicate and append bytes at random places."""
    damaged = bytearray(body)
    for _ in range(rng.randint(0, 4)):
        place, length = rng.randrange(len(damaged) + 1), rng.randint(1, 12)
        match rng.randrange(5):
            case 0:
                damaged[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del damaged[place : place + length]
            case 2:
                damaged[place:place] = damaged[place : place + length]
            case 3:
                damaged[place:place] = rng.choice((b"[" * 200, b"\\u0000", b"9" * 40, b'"', b","))
            case _:
                damaged += rng.randbytes(length)
    return bytes(damaged[: rng.choice((len(damaged), len(damaged), rng.randrange(1, 400)))])


def _odd(rng: random.Random, value: Any) -> Any:
    """Replace random parts of a JSON value by odd values."""
    if rng.random() < 0.08:
        return rng.choice(_ODD_VALUES)
    if isinstance(value, dict):
        return {key: _odd(rng, item) for key, item in value.items() if rng.random() > 0.04}
    if isinstance(value, list):
        return [_odd(rng, item) for item in value if rng.random() > 0.03]
    return value


def _odd_message(rng: random.Random) -> Any:
    message = _message()
    if rng.random() < 0.2:
        message.model_name = rng.choice(("", "nosuch", "\x00", "b" * 10_000))
    if rng.random() < 0.3:
        message.model_version = rng.choice(("", "0", "-1", "9" * 30, "1.5", "x", "1 ", "²"))
    for tensor in message.inputs:
        if rng.random() < 0.2:
            tensor.name = rng.choice(("", "input_ids", "é"))
        if rng.random() < 0.2:
            tensor.datatype = rng.choice(("", "INT32", "FP16", "BYTES", "int64"))
        if rng.random() < 0.3:
            sizes = (-1, 0, 1, 2, 3, 2**31, 2**62, 2**63 - 1)
            tensor.shape[:] = rng.choices(sizes, k=rng.randrange(4))
        if rng.random() < 0.1:
            tensor.contents.int64_contents.extend([1] * rng.randrange(4))
    for index in range(len(message.raw_input_contents)):
        if rng.random() < 0.2:
            message.raw_input_contents[index] = rng.randbytes(rng.choice((0, 1, 8, 16, 24, 100)))
    if rng.random() < 0.1:
        del message.raw_input_contents[rng.randrange(3) :]
    if rng.random() < 0.1:
        del message.inputs[rng.randrange(3) :]
    return message


def _rest(connection: http.client.HTTPConnection, rng: random.Random, body: bytes) -> str:
    headers = {}
    if rng.random() < 0.3:
        lengths = ("0", "-1", "x", str(len(body)), str(len(body) // 2), "9" * 30, "")
        headers["Inference-Header-Content-Length"] = rng.choice(lengths)
    path = _PATHS[0] if rng.random() < 0.8 else rng.choice(_PATHS)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnexpectedAnswerError(f"{error!r} for POST {path} {headers} {body!r}") from error
    is_worded = content.startswith(b'{"error"') or response.status == 200
    if response.status not in REST_STATUSES or not is_worded or b"Internal server error" in content:
        raise UnexpectedAnswerError(
            f"{response.status} {content!r} for POST {path} {headers} {body!r}"
        )
    return f"REST {response.status}"


def _grpc(infer: Any, body: bytes) -> str:
    try:
        infer(body, timeout=60)
    except grpc.RpcError as failure:
        error: Any = failure
        code = error.code().name
        if code not in GRPC_CODES or "Internal server error" in error.details():
            raise UnexpectedAnswerError(f"{code} {error.details()} for {body!r}") from failure
        return f"gRPC {code}"
    return "gRPC OK"


def _garbage(host: str, port: int, rng: random.Random) -> None:
    """Send random bytes, and disconnect without waiting."""
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(rng.randbytes(rng.randrange(1, 2000)))


def resident_mebibytes(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def main() -> int:
    """Send the requests, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        for version in (1, 2):
            write_toy_version(Path(directory), version)
        arguments = ["--config_path", str(write_config(Path(directory))), "--log_level", "ERROR"]
        arguments += ["--port", "{GRPC_PORT}", "--rest_port", "{REST_PORT}", "--metrics_enable"]
        server = AsProcess([sys.executable, "-m", "bertqa_serve.engine"], arguments)
        try:
            return _run(server, options)
        finally:
            server.close()


def _run(server: AsProcess, options: argparse.Namespace) -> int:
    _wait_for(server.rest_port)
    answers: Counter[str] = Counter()
    failures: list[BaseException] = []

    def send(requests: int, seed: int) -> None:
        try:
            answers.update(fuzz(server.host, server.grpc_port, server.rest_port, requests, seed))
        except BaseException as error:
            failures.append(error)

    held = [resident_mebibytes(server.pid)]
    rounds = 10
    for turn in range(rounds):
        each = -(-options.requests // (rounds * options.threads))
        seeds = (options.seed + turn * options.threads + i for i in range(options.threads))
        threads = [threading.Thread(target=send, args=(each, seed)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        held.append(resident_mebibytes(server.pid))
        if failures:
            break
    for answer, count in sorted(answers.items()):
        print(f"{count:>8} {answer}")
    print(f"memory in MiB: {', '.join(f'{mebibytes:.0f}' for mebibytes in held)}")
    for failure in failures:
        print(failure)
    grown = held[-1] - held[1]  # What the first requests bring in stays.
    return int(bool(failures) or grown > MEMORY_LIMIT_MEBIBYTES or server.exit_code(0) is not None)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/v2/models/bert-qa/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the engine does not start")


if __name__ == "__main__":
    sys.exit(main())
