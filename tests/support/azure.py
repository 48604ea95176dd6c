"""Azure as far as `bert-qa azureml` uses it, over real HTTPS: sign-in, ARM, blob storage, scoring.

It keeps what it is given. What takes long is under way at the first look and over at the second.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.web import serving_application

SUBSCRIPTION, GROUP, WORKSPACE = "00000000-0000-0000-0000-000000000001", "qa", "bert"
WORKSPACE_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    f"/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
)
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD"]
VERSIONED = ("environments", "data", "models", "codes")
LONG_RUNNING = ("onlineEndpoints", "deployments")
SOON = {"retry-after-ms": "1"}
KEY = "secret-key"
MONITOR = "/providers/Microsoft.Insights/metrics"
METRICS = ("RequestsPerMinute", *(f"RequestLatency_P{each}" for each in (50, 90, 95, 99)))

Object = dict[str, Any]


@dataclass
class Azure:
    """`objects` are what was put, by their paths below the workspace; `blobs` what was uploaded.

    A request whose method and path hold what is in `refusals` gets that status, code and message;
    an operation on a path in `failures` begins well and then fails with that code and message.
    `scoring_uri`, where it is set, is that of the endpoints; otherwise they are asked here, and a
    deployment answers as it should or with what is in `answers`, one in `without_types` only to two
    inputs. `counted` is what its monitor has of each minute of a deployment: the class of status
    codes, the requests and their milliseconds.
    """

    url: str
    objects: dict[str, Object] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)
    failures: dict[str, tuple[str, str]] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Object] = field(default_factory=dict)
    without_types: set[str] = field(default_factory=set)
    counted: dict[str, list[tuple[datetime, str, float, float]]] = field(default_factory=dict)
    metrics: set[str] = field(default_factory=lambda: set(METRICS))
    scoring_uri: str | None = None
    signed_in: bool = True
    _metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    _operations: dict[str, list[Object]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def clear(self) -> None:
        for kept in (
            *(self.objects, self.blobs, self.refusals, self.failures, self.changes),
            *(self.answers, self.without_types, self.counted, self._metadata, self._operations),
        ):
            kept.clear()
        self.metrics, self.scoring_uri, self.signed_in = set(METRICS), None, True

    def saved(self) -> Any:
        """Return what the workspace has, for `restore`."""
        return copy.deepcopy([self.objects, self.blobs, self.changes, self._metadata])

    def restore(self, saved: Any) -> None:
        """Let an empty workspace have what another one had."""
        objects, blobs, changes, metadata = copy.deepcopy(saved)
        self.objects.update(objects)
        self.blobs.update(blobs)
        self.changes.extend(changes)
        self._metadata.update(metadata)

    def properties(self, below: str) -> Object:
        found: Object = self.objects[below]["properties"]
        return found

    def end_job(self, name: str, status: str, properties: Object | None = None) -> None:
        job = self.properties(f"jobs/{name}")
        job["status"] = status
        job["properties"] = properties or {}

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/metadata/endpoints", self.clouds),
                Route("/token", self.token),
                Route("/storage/{path:path}", self.storage, methods=METHODS),
                Route("/operations/{number}", self.operation),
                Route("/scored/{path:path}", self.score, methods=METHODS),
                Route("/{path:path}", self.answer, methods=METHODS),
            ]
        )

    async def clouds(self, request: Request) -> Response:
        cloud = {
            "name": "TestCloud",
            "portal": "https://portal.test.example/",
            "resourceManager": self.url,
            "authentication": {"loginEndpoint": self.url},
            "suffixes": {"storage": "example"},
        }
        return JSONResponse([cloud])

    async def token(self, request: Request) -> Response:
        if not self.signed_in:
            return JSONResponse({"error": "no identity is assigned"}, 400)
        expires = int(time.time()) + 3600
        return JSONResponse({"access_token": "token", "expires_on": expires, "resource": "arm"})

    async def answer(self, request: Request) -> Response:
        path, method, body = request.url.path, request.method, await request.body()
        if not path.startswith(WORKSPACE_ID):
            return refusal(404, "ResourceNotFound", f"The resource '{path}' was not found.")
        below = path.removeprefix(WORKSPACE_ID).strip("/")
        for (verb, part), (status, code, message) in self.refusals.items():
            if verb == method and part in below:
                return refusal(status, code, message)
        kind, _, rest = below.partition("/")
        match method:
            case "GET" if not below:
                return JSONResponse(self.workspace())
            case _ if kind == "datastores":
                return JSONResponse(self.datastore(below))
            case "POST" if below.endswith("/startPendingUpload"):
                return JSONResponse(self.pending_upload(rest))
            case "POST" if below.endswith("/listKeys"):
                return JSONResponse({"primaryKey": KEY, "secondaryKey": KEY})
            case "GET" if below.endswith(MONITOR):
                return JSONResponse({"value": self.monitored(request)})
            case "POST" if below.removesuffix("/getLogs") in self.failures:
                return JSONResponse({"content": "the end of the server's log"})
            case "GET" if below in self.objects:
                return JSONResponse(self.objects[below])
            case "GET" if below.endswith(("/versions", "/deployments")):
                return JSONResponse({"value": self.listed(below)})
            case "GET" if kind in VERSIONED and "/" not in rest:
                return self.container(below)
            case "PUT":
                self.changes.append((method, below))
                return self.put(below, json.loads(body))
            case "DELETE" if below in self.objects:
                self.changes.append((method, below))
                for gone in [each for each in self.objects if each.startswith(below)]:
                    del self.objects[gone]
                return self.under_way(202, {"status": "Succeeded"})
        return refusal(404, "NotFound", f"{below} was not found.")

    def workspace(self) -> Object:
        properties = {"workspaceId": SUBSCRIPTION, "provisioningState": "Succeeded"}
        return {
            "id": WORKSPACE_ID,
            "name": WORKSPACE,
            "location": "westeurope",
            "properties": properties,
        }

    def datastore(self, below: str) -> Object:
        """The SDK makes an account's address from its name, so the name has our address in it."""
        if below.endswith("/listSecrets"):
            return {"secretsType": "Sas", "sasToken": "sig=secret"}
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": f"{self.url.removeprefix('https://')}/storage/account",
            "containerName": "container",
            "credentials": {"credentialsType": "Sas"},
        }
        name = below.split("/")[1]
        return {"id": f"{WORKSPACE_ID}/{below}", "name": name, "properties": properties}

    def pending_upload(self, code: str) -> Object:
        uri = f"{self.url}/storage/codes/{code.partition('/')[0]}"
        credential = {"credentialType": "SAS", "sasUri": f"{uri}?sig=secret"}
        return {"blobReferenceForConsumption": {"blobUri": uri, "credential": credential}}

    def put(self, below: str, content: Object) -> Response:
        *_, kind, name = below.split("/")
        properties = content.setdefault("properties", {})
        failure = self.failures.get(below)
        properties["provisioningState"] = "Failed" if failure else "Succeeded"
        if kind == "onlineEndpoints":
            here = f"{self.url}/scored/{name}/v2/models/bert-qa/infer"
            properties["scoringUri"] = self.scoring_uri or here
        if kind == "deployments":
            properties.setdefault("scaleSettings", {"scaleType": "Default"})
        if below.startswith("models/"):
            properties["flavors"] = {}
        if kind == "jobs":
            studio = {"Studio": {"endpoint": f"https://ml.example/{name}"}}
            properties |= {"status": "Running", "services": studio}
        stored = {"id": f"{WORKSPACE_ID}/{below}", "name": name, **content}
        self.objects[below] = stored
        if kind not in LONG_RUNNING:
            return JSONResponse(stored, 201)
        outcome: Object = {"status": "Succeeded"}
        if failure is not None:
            code, message = failure
            outcome = {"status": "Failed", "error": {"code": code, "message": message}}
        return self.under_way(201, outcome, stored)

    async def score(self, request: Request) -> Response:
        """Answer as the deployment that the header names; a test sees to it that there is one."""
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "Unauthorized", "Please provide valid credentials.")
        deployment = request.headers["azureml-model-deployment"]
        if deployment in self.answers:
            return JSONResponse(self.answers[deployment])
        sent = json.loads(await request.body())["inputs"]
        if deployment in self.without_types and len(sent) > 2:
            return refusal(400, "BadRequest", "Invalid number of inputs")
        shape = sent[0]["shape"]
        outputs = [
            {"name": name, "datatype": "FP32", "shape": shape, "data": [0.5] * shape[1]}
            for name in ("start_logits", "end_logits")
        ]
        version = deployment.removeprefix("version-")
        return JSONResponse({"model_version": version, "outputs": outputs})

    def monitored(self, request: Request) -> list[Object]:
        query = request.query_params
        begin, end = map(datetime.fromisoformat, query["timespan"].split("/"))
        (deployment,) = re.findall(r"deployment eq '([^']+)'", query["$filter"])
        points = [each for each in self.counted.get(deployment, []) if begin <= each[0] < end]
        classes = (
            sorted({each[1] for each in points}) if "statusCodeClass" in query["$filter"] else [""]
        )
        return [
            {
                "name": {"value": name},
                "unit": "Count",
                "timeseries": [
                    {
                        "metadatavalues": [
                            {"name": {"value": "statuscodeclass"}, "value": status},
                        ],
                        "data": [
                            {
                                "timeStamp": minute.isoformat(),
                                "average": requests if name == METRICS[0] else milliseconds,
                            }
                            for minute, each, requests, milliseconds in points
                            if status in ("", each)
                        ],
                    }
                    for status in classes
                ],
            }
            for name in query["metricnames"].split(",")
            if name in self.metrics
        ]

    def under_way(self, status: int, outcome: Object, content: Object | None = None) -> Response:
        number = str(next(self._numbers))
        self._operations[number] = [{"status": "InProgress"}, outcome]
        headers = {"Azure-AsyncOperation": f"{self.url}/operations/{number}", **SOON}
        return JSONResponse(content, status, headers)

    async def operation(self, request: Request) -> Response:
        looks = self._operations[request.path_params["number"]]
        return JSONResponse(looks.pop(0) if len(looks) > 1 else looks[0], headers=SOON)

    def listed(self, below: str) -> list[Object]:
        depth = below.count("/") + 1
        return [
            found
            for path, found in sorted(self.objects.items())
            if path.startswith(f"{below}/") and path.count("/") == depth
        ]

    def container(self, below: str) -> Response:
        versions = [int(found["name"]) for found in self.listed(f"{below}/versions")]
        if not versions:
            return refusal(404, "NotFound", f"{below} was not found.")
        properties = {"latestVersion": str(max(versions)), "nextVersion": str(max(versions) + 1)}
        return JSONResponse({"name": below.partition("/")[2], "properties": properties})

    async def storage(self, request: Request) -> Response:
        """Keep blobs, as far as uploading and finding again takes it."""
        blob, part = request.path_params["path"], request.query_params.get("comp")
        if request.method == "PUT" and part is None:
            self.blobs[blob] = await request.body()
        if blob not in self.blobs:
            return Response(status_code=404, headers={"x-ms-error-code": "BlobNotFound"})
        if part == "metadata":
            self._metadata[blob] = {
                name: value for name, value in request.headers.items() if "x-ms-meta-" in name
            }
        headers = {"etag": "0x1", "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        status = 201 if request.method == "PUT" and part is None else 200
        return Response(status_code=status, headers=headers | self._metadata.get(blob, {}))


def refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


@contextmanager
def serving(azure: Azure, port: int, folder: Path) -> Iterator[dict[str, str]]:
    """Serve it, and return the environment in which one is signed in to its workspace."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    trusted, chain = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(str(trusted))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(chain))
    with serving_application(azure.application(), port, ssl_certfile=str(chain)):
        yield {
            "REQUESTS_CA_BUNDLE": str(trusted),
            "ARM_CLOUD_METADATA_URL": f"{azure.url}/metadata/endpoints",
            "MSI_ENDPOINT": f"{azure.url}/token",
            "MSI_SECRET": "secret",
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "AZUREML_ARM_SUBSCRIPTION": SUBSCRIPTION,
            "AZUREML_ARM_RESOURCEGROUP": GROUP,
            "AZUREML_ARM_WORKSPACE_NAME": WORKSPACE,
        }
