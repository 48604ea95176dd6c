"""The object stores that OVMS reads: how each is opened, and what its failures mean.

Each library reads credentials and endpoints from the environment in its own way, which
`Store.credentials` describes. They give up soon, because the same command resumes.

obstore would be one library instead of three, but its multipart uploads take no condition: a large
file would overwrite another's, or be sent whole in one request without progress and without a
retry of its parts. Google's API for its kind of multipart upload knows no conditions at all.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from bertqa_deploy.storage.address import AZURE, GOOGLE, S3

_CONNECTIONS = 4
_PART_BYTES = 8 * 2**20
# The time for an answer includes sending a part, and a slow connection sends four at once.
_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 120
_AZURE_SCOPE = "https://storage.azure.com/.default"
_LOGGERS = ("azure", "gcsfs", "s3fs", "aiobotocore", "botocore", "google")

_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "CredentialUnavailableError",
    "DefaultCredentialsError",
}
_NO_CREDENTIALS_TEXTS = ("Must provide either a connection_string", "failed to retrieve a token")
_UNREACHABLE = {
    "ServiceRequestError",
    "ServiceResponseError",
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "HTTPClientError",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ServerDisconnectedError",
    "ClientOSError",
    "TransportError",
}


class Failure(Enum):
    """Why a request to a store failed."""

    NO_CREDENTIALS = auto()
    DENIED = auto()
    NO_CONTAINER = auto()
    UNREACHABLE = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Store:
    """One kind of store.

    Attributes:
        open: Opens its fsspec file system (untyped). Raises what the store's library raises.
        container: What the store calls a container.
        credentials: What to set in the environment, for a sentence.
        put_options: Further arguments of `put_file`.
    """

    open: Callable[[], Any]
    container: str
    credentials: str
    put_options: Mapping[str, Any] = field(default_factory=dict)


def _open_azure() -> Any:
    from adlfs import AzureBlobFileSystem
    from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

    filesystem = AzureBlobFileSystem(
        max_concurrency=_CONNECTIONS,
        connection_timeout=_CONNECT_SECONDS,
        read_timeout=_ANSWER_SECONDS,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    if filesystem.sync_credential is not None:
        filesystem.sync_credential.get_token(_AZURE_SCOPE)  # Each request would try many times.
    # By default it waits 15 seconds and more before a retry, and adlfs has no setting for that.
    client = filesystem.service_client
    filesystem.service_client = BlobServiceClient(
        client.url,
        credential=client.credential,
        max_single_put_size=_PART_BYTES,
        max_block_size=_PART_BYTES,
        retry_policy=ExponentialRetry(
            initial_backoff=1, increment_base=2, retry_total=3, random_jitter_range=1
        ),
    )
    return filesystem


def _open_s3() -> Any:
    from s3fs import S3FileSystem

    region = os.environ.get("AWS_REGION")  # OVMS reads this variable, and botocore another.
    filesystem = S3FileSystem(
        max_concurrency=_CONNECTIONS,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _ANSWER_SECONDS,
            "retries": {"mode": "standard", "total_max_attempts": 3},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    filesystem.retries = 2
    return filesystem


def _open_google() -> Any:
    # The class that gcsfs exports asks each bucket for its kind over gRPC first, which emulators
    # do not answer, and which takes minutes where a network blocks it.
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    emulated = bool(os.environ.get("STORAGE_EMULATOR_HOST"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "GCS project not set")
        return GCSFileSystem(
            token="anon" if emulated else "google_default",
            requests_timeout=ClientTimeout(
                sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS
            ),
            use_listings_cache=False,
            skip_instance_cache=True,
        )


STORES: Mapping[str, Store] = {
    AZURE: Store(
        _open_azure,
        "container",
        "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with "
        "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or what DefaultAzureCredential finds "
        "(az login)",
    ),
    S3: Store(
        _open_s3,
        "bucket",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL names "
        "a store that is not Amazon's",
        {"chunksize": _PART_BYTES},
    ),
    GOOGLE: Store(
        _open_google,
        "bucket",
        "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, or sign in with "
        "gcloud auth application-default login",
        {"chunksize": _PART_BYTES},
    ),
}


def silence_loggers() -> None:
    """Keep the stores' libraries from logging what they also raise."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def failure_of(error: BaseException) -> Failure:
    """Return why a request failed.

    Args:
        error: What a store's library raised; what caused it counts too.
    """
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    statuses = {status for cause in causes if (status := _status(cause))}
    codes = {_code(cause) for cause in causes}
    if names & _NO_CREDENTIALS or any(text in str(error) for text in _NO_CREDENTIALS_TEXTS):
        return Failure.NO_CREDENTIALS
    if codes & {"ContainerNotFound", "NoSuchBucket"} or isinstance(error, FileNotFoundError):
        return Failure.NO_CONTAINER
    if statuses & {401, 403} or "ClientAuthenticationError" in names:
        return Failure.DENIED
    if any(isinstance(cause, PermissionError) for cause in causes):
        return Failure.DENIED
    if str(error).startswith("Forbidden"):
        return Failure.DENIED
    if names & _UNREACHABLE or any(isinstance(c, ConnectionError | TimeoutError) for c in causes):
        return Failure.UNREACHABLE
    return Failure.OTHER


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status in an error of azure-core, botocore or gcsfs."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


def _code(error: BaseException) -> str | None:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code"))
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code)) if code else None
