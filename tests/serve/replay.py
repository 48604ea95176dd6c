"""Plays what was recorded of OVMS against a server and tells where the server differs.

    python -m tests.serve.replay [SCENARIO ...]                     the local engine
    python -m tests.serve.replay --ovms PATH [SCENARIO ...]         a real server, started as needed
    python -m tests.serve.replay --url HOST:GRPC_PORT,HOST:REST_PORT [SCENARIO ...]
        a server that runs with configs/all_broken.json; scenarios that only ask, without changes

The format of the transcripts is told in `ovms/README.md`. Of REST connections that get no answer,
the way in which they fail is not compared, and of a server's version only that there is one.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.protobuf import json_format
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2

from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.flags import parse, server_from

DATA = Path(__file__).parent / "ovms"
TRANSCRIPTS = DATA / "transcripts"
DEVIATIONS = DATA / "deviations.toml"
ONLY_ASKING = ("infer_errors", "infer_ok", "metadata")
_KSERVE = "inference.GRPCInferenceService"
_NO_ANSWER = {"transport_error": "no answer"}
_DEADLINE_SECONDS = 60.0
_PATIENCE_SECONDS = 10.0

Step = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A step at which a server did not do what OVMS did."""

    scenario: str
    step: str
    expected: object
    actual: object

    def __str__(self) -> str:
        return f"{self.scenario}: {self.step}\n  OVMS:   {self.expected}\n  server: {self.actual}"


class Server(Protocol):
    """A server that a transcript starts, asks and ends."""

    grpc_port: int
    rest_port: int

    def exit_code(self, seconds: float | None) -> int | None: ...
    def send(self, number: signal.Signals) -> None: ...


class InThisProcess:
    """The local engine in a thread: quick to start, and with a quicker clock."""

    time_scale = 0.2

    def __init__(self, arguments: list[str]) -> None:
        if "--file_system_poll_wait_seconds" not in arguments:
            arguments = [*arguments, "--file_system_poll_wait_seconds", "0.1"]
        self._server: LocalServer = server_from(parse(arguments))
        self._starting = threading.Thread(target=self._server.start)
        self._starting.start()
        while self._starting.is_alive() and not self._server.rest_port:
            time.sleep(0.005)

    @property
    def grpc_port(self) -> int:
        return self._server.grpc_port

    @property
    def rest_port(self) -> int:
        return self._server.rest_port or 0

    def exit_code(self, seconds: float | None) -> int | None:
        self._starting.join()
        self._server.stop()
        return 0

    def send(self, number: signal.Signals) -> None:
        self._starting.join()
        self._server.stop()


class AsProcess:
    """A server as a process of its own."""

    time_scale = 1.0

    def __init__(self, program: list[str], arguments: list[str]) -> None:
        self.grpc_port, self.rest_port = _free_port(), _free_port()
        ports = {"{GRPC_PORT}": str(self.grpc_port), "{REST_PORT}": str(self.rest_port)}
        self._process = subprocess.Popen(
            [*program, *(ports.get(argument, argument) for argument in arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def exit_code(self, seconds: float | None) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@dataclass(slots=True)
class RunningElsewhere:
    """A server that somebody else started and ends."""

    host: str
    grpc_port: int
    rest_port: int
    time_scale = 1.0

    def exit_code(self, seconds: float | None) -> int | None:
        return 0

    def send(self, number: signal.Signals) -> None:
        pass


Start = Callable[[Step, list[str]], Any]


def local_engine(scenario: str) -> Start:
    """Run the engine in this process, except where it is the process that is looked at."""
    as_process = real_server([sys.executable, "-m", "bertqa_serve.engine"])
    if scenario == "shutdown":
        return as_process

    def start(step: Step, arguments: list[str]) -> Any:
        if step["wait"] == "exit":
            return as_process(step, arguments)
        free = ["0" if a in ("{GRPC_PORT}", "{REST_PORT}") else a for a in arguments]
        return InThisProcess(free)

    return start


def real_server(program: list[str]) -> Start:
    return lambda _, arguments: AsProcess(program, arguments)


@dataclass
class Replay:
    """A transcript, or a part of it, being played."""

    scenario: str
    steps: list[Step]
    start: Start
    work: Path
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0
    _server: Any = None
    _patience_ends: float = 0.0
    _background: list[tuple[str, Step, threading.Thread, list[Answer]]] = field(
        default_factory=list
    )

    def run(self) -> None:
        self._reset_models()
        try:
            for index, step in enumerate(self.steps):
                if step["do"] not in ("rest", "grpc"):
                    self._patience_ends = 0.0
                name = step.get("name") or step.get("what") or f"{index}: {step['do']}"
                getattr(self, f"_do_{step['do']}")(name, step)
        finally:
            if isinstance(self._server, AsProcess):
                self._server.kill()
            elif self._server is not None:
                self._server.exit_code(None)

    @property
    def _models(self) -> Path:
        return self.work / "models"

    @property
    def _config(self) -> Path:
        return self.work / "config.json"

    def _compare(self, name: str, step: Step, actual: Answer) -> None:
        self.compared += 1
        if not _accepts(step, actual):
            self.differences.append(Difference(self.scenario, name, _expected(step), actual))

    def _do_start(self, name: str, step: Step) -> None:
        self._write_config(step["config"])
        places = {"{CONFIG}": str(self._config), "{MODEL_DIR}": str(self._models)}
        arguments = list(step["args"])
        for place, path in places.items():
            arguments = [argument.replace(place, path) for argument in arguments]
        self._server = self.start(step, arguments)
        if step["wait"] == "exit":
            code, self._server = self._server.exit_code(_DEADLINE_SECONDS), None
            self._compare(name, step, {"exit_code": code})
            return
        wanted = (200,) if step["wait"] == "ready" else range(100, 600)
        _poll(lambda: self._rest("GET", "/v2/health/ready").get("status") in wanted)

    def _do_stop(self, name: str, step: Step) -> None:
        if "signal" in step:
            self._server.send(signal.Signals[f"SIG{step['signal']}"])
        code, self._server = self._server.exit_code(_DEADLINE_SECONDS), None
        self._compare(name, step, {"exit_code": code})
        for background_name, background, thread, answers in self._background:
            thread.join()
            self._compare(background_name, background, answers[0])
        self._background.clear()

    def _do_signal(self, name: str, step: Step) -> None:
        self._server.send(signal.Signals[f"SIG{step['signal']}"])

    def _do_sleep(self, name: str, step: Step) -> None:
        """Sleep, and let the server have longer than that to do what the sleep was for."""
        time.sleep(step["seconds_to_sleep"] * self._server.time_scale)
        self._patience_ends = time.monotonic() + _PATIENCE_SECONDS

    def _do_wait_until(self, name: str, step: Step) -> None:
        def reached() -> bool:
            answer, until = self._ask_rest(step["rest"]), step["until"]
            if "status" in until:
                return bool(answer.get("status") == until["status"])
            models = answer.get("response") or {}
            versions = models.get(until["model"], {}).get("model_version_status", ())
            return any(
                version["version"] == until["version"] and version["state"] == until["state"]
                for version in versions
            )

        self._compare(name, step, {"reached": _poll(reached, step["timeout"])})

    def _do_write_config(self, name: str, step: Step) -> None:
        self._write_config(step["config"])

    def _do_remove_config(self, name: str, step: Step) -> None:
        self._config.unlink()

    def _do_reset_models(self, name: str, step: Step) -> None:
        self._reset_models()

    def _do_add_version(self, name: str, step: Step) -> None:
        target = self._models / step["model"] / str(step["version"])
        if step.get("replace"):
            shutil.copytree(DATA / step["from"], target, dirs_exist_ok=True)
            return
        staged = self.work / "staged"
        if step["from"] is None:
            staged.mkdir()
        else:
            shutil.copytree(DATA / step["from"], staged)
        staged.rename(target)

    def _do_remove_version(self, name: str, step: Step) -> None:
        gone = Path(tempfile.mkdtemp(dir=self.work)) / "gone"
        (self._models / step["model"] / str(step["version"])).rename(gone)

    def _do_rest(self, name: str, step: Step) -> None:
        self._ask(name, step, self._ask_rest)

    def _do_grpc(self, name: str, step: Step) -> None:
        self._ask(name, step, self._ask_grpc)

    def _ask(self, name: str, step: Step, ask: Callable[[Step], Answer]) -> None:
        if not step.get("background"):
            answer = ask(step)
            while not _accepts(step, answer) and time.monotonic() < self._patience_ends:
                time.sleep(0.05)
                answer = ask(step)
            self._compare(name, step, answer)
            return
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(ask(step)))
        thread.start()
        self._background.append((name, step, thread, answers))

    def _reset_models(self) -> None:
        shutil.rmtree(self._models, ignore_errors=True)
        shutil.copytree(DATA / "models", self._models)

    def _write_config(self, config: str | None) -> None:
        if config is None:
            self._config.unlink(missing_ok=True)
            return
        text = (DATA / config).read_text(encoding="utf-8")
        staged = self._config.with_suffix(".staged")
        staged.write_text(text.replace("{MODEL_DIR}", str(self._models)), encoding="utf-8")
        staged.rename(self._config)

    def _ask_rest(self, step: Step) -> Answer:
        text: str | None = step.get("body")
        encoded = step.get("body_encoding") == "base64"
        body = None
        if text is not None:
            body = base64.b64decode(text) if encoded else text.encode()
        return self._rest(
            step["method"],
            step["path"],
            step.get("headers", {}),
            body,
            step.get("client_timeout", _DEADLINE_SECONDS),
        )

    def _rest(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = _DEADLINE_SECONDS,
    ) -> Answer:
        host = getattr(self._server, "host", "127.0.0.1")
        connection = http.client.HTTPConnection(host, self._server.rest_port, timeout)
        headers = dict(headers or {})
        chunked = headers.get("Transfer-Encoding") == "chunked"
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for key, value in headers.items():
                connection.putheader(key, value)
            if body is not None and not chunked:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(
                iter([body]) if chunked and body else body, encode_chunked=chunked
            )
            response = connection.getresponse()
            return _rest_answer(response, response.read())
        except (OSError, http.client.HTTPException):
            return dict(_NO_ANSWER)
        finally:
            connection.close()

    def _ask_grpc(self, step: Step) -> Answer:
        service, method = step.get("service", _KSERVE), step["method"]
        request_type, response_type = _message_types(service, method)
        request = json_format.ParseDict(step["request"], request_type())
        host = getattr(self._server, "host", "127.0.0.1")
        target = f"{host}:{self._server.grpc_port}"
        timeout = step.get("client_timeout", _DEADLINE_SECONDS)
        with grpc.insecure_channel(target) as channel:
            coding = {
                "request_serializer": lambda message: message.SerializeToString(),
                "response_deserializer": response_type.FromString,
            }
            try:
                if method == "ModelStreamInfer":
                    call = channel.stream_stream(f"/{service}/{method}", **coding)
                    response = next(call(iter([request]), timeout=timeout))
                else:
                    call = channel.unary_unary(f"/{service}/{method}", **coding)
                    response = call(request, timeout=timeout)
            except grpc.RpcError as error:
                return _grpc_failure(error)
            return {"code": "OK", "response": response}


def _message_types(service: str, method: str) -> tuple[Any, Any]:
    if service != _KSERVE:
        return _tfs_message_types(method)
    name = method.replace("ModelStreamInfer", "ModelInfer")
    empty = service_pb2.ServerLiveRequest
    request_type = getattr(service_pb2, f"{name}Request", empty)
    return request_type, getattr(service_pb2, f"{name}Response", empty)


def _tfs_message_types(method: str) -> tuple[Any, Any]:
    from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        predict_pb2,
    )

    modules = (predict_pb2, get_model_metadata_pb2, get_model_status_pb2)
    types = {
        kind: next(
            getattr(module, method + kind) for module in modules if hasattr(module, method + kind)
        )
        for kind in ("Request", "Response")
    }
    return types["Request"], types["Response"]


def _grpc_failure(error: Any) -> Answer:
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE and (
        "connect" in details or "GOAWAY" in details
    ):
        details = "{TRANSPORT: connection refused or closed}"
    return {"code": error.code().name, "details": details}


def _rest_answer(response: http.client.HTTPResponse, content: bytes) -> Answer:
    headers = {key.lower(): value for key, value in response.getheaders()}
    if headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    json_size = headers.get("inference-header-content-length")
    body: object
    if json_size is not None:
        blob = base64.b64encode(content[int(json_size) :]).decode()
        body = {"json": json.loads(content[: int(json_size)]), "binary_base64": blob}
    elif content.startswith(b"# HELP"):
        body = _metrics(content.decode())
    else:
        try:
            body = json.loads(content)
        except ValueError:
            body = content.decode(errors="replace")
    return {"status": response.status, "response_headers": headers, "response": body}


def _metrics(text: str) -> list[dict[str, Any]]:
    families = []
    for family in text_string_to_metric_families(text):
        described: dict[str, Any] = {
            "name": family.name,
            "help": family.documentation,
            "type": family.type,
        }
        samples: dict[str, dict[str, Any]] = {}
        bounds: set[str] = set()
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if key != "le"}
            found = samples.setdefault(json.dumps(labels, sort_keys=True), {"labels": labels})
            if sample.name.endswith("_bucket"):
                bounds.add(sample.labels["le"])
            else:
                kind = sample.name.removeprefix(family.name).lstrip("_") or "value"
                found["value" if kind == "total" else kind] = sample.value
        described["samples"] = [samples[key] for key in sorted(samples)]
        if bounds:
            described["le"] = sorted(map(float, bounds))
        families.append(described)
    return sorted(families, key=lambda one: str(one["name"]))


def _expected(step: Step) -> Answer:
    """What of a recorded step is compared."""
    if "transport_error" in step:
        return dict(_NO_ANSWER)
    keys = ("status", "response_headers", "response", "code", "details", "exit_code", "reached")
    expected = {key: step[key] for key in keys if key in step}
    if "method" in step and "code" in expected and "response" in expected:
        service = step.get("service", _KSERVE)
        message = _message_types(service, step["method"])[1]()
        expected["response"] = json_format.ParseDict(expected["response"], message)
    if isinstance(expected.get("response"), list):
        expected["response"] = [
            {**family, "le": sorted(map(float, family["le"]))} if "le" in family else family
            for family in expected["response"]
        ]
    return expected


def _accepts(step: Step, actual: Answer) -> bool:
    expected = [_expected(step), *map(_expected, step.get("also_seen", ()))]
    return any(_agree(one, actual) for one in expected)


def _agree(expected: Answer, actual: Answer) -> bool:
    return all(
        _same_headers(value, actual.get(key, {}))
        if key == "response_headers"
        else _same(value, actual.get(key))
        for key, value in expected.items()
    )


def _same_headers(expected: Mapping[str, str], actual: Mapping[str, str]) -> bool:
    encoding = "content-encoding"
    return expected.get(encoding) == actual.get(encoding) and all(
        key in actual and (value == actual[key] or key == "inference-header-content-length")
        for key, value in expected.items()
    )


def _same(expected: Any, actual: Any) -> bool:
    if expected in ("{NONDETERMINISTIC}", "{UNIX_TIME}"):
        return isinstance(actual, int | float)
    if isinstance(expected, service_pb2.ServerMetadataResponse):
        return bool(expected.name == actual.name and actual.version)
    if isinstance(expected, dict) and isinstance(actual, dict):
        if expected.get("name") == "OpenVINO Model Server":
            return expected.keys() == actual.keys() and expected["name"] == actual["name"]
        return expected.keys() == actual.keys() and all(
            _same(value, actual[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    return bool(expected == actual)


def _poll(condition: Callable[[], bool], seconds: float = _DEADLINE_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where the local engine differs from OVMS on purpose.

    `not_always` marks a step whose outcome depends on how quick the machine is.
    """

    scenario: str
    step: str
    reason: str
    not_always: bool


def deviations() -> list[Deviation]:
    content = tomllib.loads(DEVIATIONS.read_text(encoding="utf-8"))
    return [
        Deviation(scenario, step, entry["reason"], entry.get("not_always", False))
        for entry in content["deviation"]
        for scenario, steps in entry["steps"].items()
        for step in steps
    ]


def scenarios() -> list[str]:
    return sorted(path.stem for path in TRANSCRIPTS.glob("*.json"))


def parts(scenario: str) -> list[list[Step]]:
    """Split a transcript where nothing of what was done before matters any more."""
    steps = json.loads((TRANSCRIPTS / f"{scenario}.json").read_text(encoding="utf-8"))
    changes_models = any(step["do"].endswith("_version") for step in steps)
    beginning = "reset_models" if changes_models else "start"
    found: list[list[Step]] = [[]]
    for step in steps:
        if step["do"] == beginning and found[-1]:
            found.append([])
        found[-1].append(step)
    return found


def replay(scenario: str, steps: list[Step], start: Start | None = None) -> Replay:
    """Play a part of a transcript; by default against the local engine."""
    with tempfile.TemporaryDirectory() as work:
        played = Replay(scenario, steps, start or local_engine(scenario), Path(work))
        played.run()
    return played


def _elsewhere(url: str) -> Start:
    (host, grpc_port), (_, rest_port) = (part.split(":") for part in url.split(","))
    return lambda *_: RunningElsewhere(host, int(grpc_port), int(rest_port))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--ovms", type=Path, help="the program of a real server")
    parser.add_argument("--url", help="HOST:GRPC_PORT,HOST:REST_PORT of a running server")
    options = parser.parse_args()
    names = options.scenarios or (ONLY_ASKING if options.url else scenarios())
    compared = different = 0
    for name in names:
        start = _elsewhere(options.url) if options.url else None
        start = real_server([str(options.ovms)]) if options.ovms else start
        began = time.monotonic()
        played = [replay(name, steps, start) for steps in parts(name)]
        differences = [difference for part in played for difference in part.differences]
        steps_compared = sum(part.compared for part in played)
        print(*differences, sep="\n")
        print(
            f"{name}: {steps_compared - len(differences)} of {steps_compared} steps agree "
            f"({time.monotonic() - began:.0f} s)"
        )
        compared += steps_compared
        different += len(differences)
    print(f"{compared - different} of {compared} steps agree")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
