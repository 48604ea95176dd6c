"""Asking one deployment of an endpoint, with or without traffic, by the endpoint's own key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from azure.ai.ml import MLClient
from azure.ai.ml.entities import EndpointAuthKeys, OnlineEndpoint
from azure.core.exceptions import ServiceResponseError

from bertqa import QAClient
from bertqa.artifact import INPUTS, MODEL_NAME, OUTPUTS, TOKEN_TYPE_IDS
from bertqa_deploy.azureml.versions import deployment_name
from bertqa_deploy.azureml.workspace import translated_errors
from bertqa_deploy.errors import AzureError, DeployError

_DEPLOYMENT_HEADER = "azureml-model-deployment"
_TOKENS = 32
_PORTS = {"https": 443, "http": 80}


class Scoring:
    """The scoring route of an endpoint.

    Args:
        client: The workspace.
        endpoint: The endpoint.
    """

    def __init__(self, client: MLClient, endpoint: OnlineEndpoint) -> None:
        self._client = client
        self._endpoint = str(endpoint.name)
        self._url = urlsplit(str(endpoint.scoring_uri))

    @property
    def is_whole(self) -> bool:
        """Whether the route is the server's root, and so exposes all of KServe v2."""
        return self._url.path in ("", "/")

    def client(self, version: int) -> AbstractContextManager[QAClient]:
        """Return an open client of a version's deployment.

        Args:
            version: The version.

        Raises:
            AzureError: The endpoint exposes one route alone; or Azure refuses or fails.
        """
        if not self.is_whole:
            raise AzureError(
                f"{self._endpoint} exposes {self._url.path} alone, so that no text can be asked: "
                "write / as the path of the scoring_route in environment-serve.yml, and deploy the "
                "versions anew."
            )
        with translated_errors(f"read the key of {self._endpoint}"):
            found = self._client.online_endpoints.get_keys(self._endpoint)
        key = found.primary_key if isinstance(found, EndpointAuthKeys) else found.access_token
        scheme, host = self._url.scheme, self._url.hostname
        return QAClient(
            f"{scheme}://{host}:{self._url.port or _PORTS[scheme]}",
            model=MODEL_NAME,
            token=key,
            headers={_DEPLOYMENT_HEADER: deployment_name(version)},
        )

    def run(self, version: int) -> None:
        """Run a version's model once, on tokens without meaning.

        Args:
            version: The version.

        Raises:
            DeployError: The answer is not that of this version, or not in numbers.
            AzureError: The deployment does not answer; or Azure refuses or fails.
        """
        name = deployment_name(version)
        try:
            text = self._run(name, INPUTS)
        except AzureError:
            # Of a route of inference alone no inputs can be read: the model may have two.
            text = self._run(name, [each for each in INPUTS if each != TOKEN_TYPE_IDS])
        try:
            answer = json.loads(text)
            served, outputs = answer["model_version"], answer["outputs"]
            is_sound = {each["name"] for each in outputs} >= set(OUTPUTS) and all(
                _is_finite(each["data"]) for each in outputs
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DeployError(
                f"{name} sends what is not an answer of KServe v2.", detail=text
            ) from error
        if str(served) != str(version):
            raise DeployError(f"{name} answers as version {served}.")
        if not is_sound:
            raise DeployError(f"{name} does not answer with numbers.", detail=text)

    def _run(self, deployment: str, inputs: Iterable[str]) -> str:
        ones = {"shape": [1, _TOKENS], "datatype": "INT64", "data": [1] * _TOKENS}
        body = json.dumps({"inputs": [{"name": each, **ones} for each in inputs]})
        with TemporaryDirectory() as folder:
            file = Path(folder, "request.json")
            file.write_text(body, encoding="utf-8")
            with translated_errors(f"get an answer from {deployment}"):
                try:
                    return self._invoke(deployment, file)
                except ServiceResponseError:  # The SDK may use a connection that has ended.
                    return self._invoke(deployment, file)

    def _invoke(self, deployment: str, request: Path) -> str:
        return str(
            self._client.online_endpoints.invoke(
                self._endpoint, deployment_name=deployment, request_file=str(request)
            )
        )


def _is_finite(data: list[Any]) -> bool:
    return len(data) == _TOKENS and all(math.isfinite(each) for each in data)
