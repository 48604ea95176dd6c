"""What both gRPC transports share: channels, call arguments, and the mapping of failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import grpc

from bertqa import _defaults
from bertqa.errors import (
    BertQAError,
    CertificateError,
    ClientStateError,
    DeadlineExceededError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport._address import Address
from bertqa.transport._cancellation import CANCELLATION
from bertqa.transport._error_mapping import ErrorMapper, blames_address
from bertqa.transport._http import proxy_of
from bertqa.transport._names import Names, without_names
from bertqa.transport._proxies import Proxy
from bertqa.transport._retries import pauses
from bertqa.transport._security import Security
from bertqa.transport.codecs import Codec

ChannelOptions = tuple[tuple[str, int | str | bytes], ...]


class GrpcConnection:
    """The state of a connection, whether its calls are awaited or not."""

    def __init__(
        self,
        address: Address,
        model: str,
        security: Security,
        channel_options: ChannelOptions,
        *,
        repeats: bool,
    ) -> None:
        self._address = address
        self._model = model
        self._repeats = repeats
        self._security = security
        self._proxy = proxy_of(address)
        self._arguments = channel_arguments(address, security, self._proxy, channel_options)
        self._credentials = security.grpc_credentials() if address.is_secure else None
        # A server that answered before is waited for; one that never answered is not.
        self._met = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r}, model={self._model!r})"

    def _call_arguments(self, deadline: float, headers: Mapping[str, str]) -> dict[str, Any]:
        return {
            "timeout": deadline - time.monotonic(),
            "metadata": tuple(without_names(headers).items()),
        }

    @contextlib.contextmanager
    def _mapping_errors(self, version: int | None) -> Iterator[None]:
        """Raise what a failed call means as an error of `bertqa.errors`."""
        try:
            yield
        except BertQAError:  # of the token; InvalidOptionError is a ValueError
            raise
        except grpc.RpcError as error:
            mapper = ErrorMapper(
                str(self._address),
                self._model,
                version,
                self._proxy,
                self._security.has_credentials,
            )
            code, detail = error.code().name, error.details() or ""
            if code == "DEADLINE_EXCEEDED" and "connect" in detail.lower():
                raise mapper.unreachable(detail) from error
            raise mapper.from_grpc(code, detail) from error
        except (ValueError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            # grpc.aio cancels the task that awaits a call when its channel is closed.
            task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
            if task is not None and task.cancelling():
                raise
            raise ClientStateError(f"The connection to {self._address} is closed.") from error
        self._met = True

    def _waits(self, deadline: float) -> Iterator[float]:
        """Yield the pauses before further attempts where no server answers."""
        return pauses(deadline, patient=self._met) if self._repeats else iter(())

    def _may_be_explained(self) -> bool:
        """Return whether a handshake of our own goes the way that the calls go."""
        return self._proxy is None

    def _check_message(self, response: Any) -> Any:
        """Return a response. grpc.aio returns None, without an error, for bytes that are none."""
        if response is None:
            raise ProtocolError(f"{self._address} sent bytes that are not a valid message.")
        return response

    @contextlib.contextmanager
    def _explaining_rest(self, rest: Address) -> Iterator[None]:
        """Add to an error why a gRPC client calls a REST address."""
        try:
            yield
        except (ServerUnreachableError, DeadlineExceededError, ProtocolError) as error:
            if not (blames_address(error) or isinstance(error, CertificateError)):
                raise
            hint = self._hint_at_rest(rest, is_certificate=isinstance(error, CertificateError))
            raise type(error)(
                f"{error} (The model behind {self._address} says over REST which tokenizer it "
                f"takes.{hint})",
                detail=error.detail,
            ) from error

    def _hint_at_rest(self, rest: Address, *, is_certificate: bool) -> str:
        """Return what to do where a REST address fails: by convention, or the one that is named."""
        location, is_secure = self._address.location, self._address.is_secure
        by_convention = self._address.port - _defaults.REST_PORT_BELOW_GRPC
        if (rest.host, rest.port) != (self._address.host, by_convention):
            return " Correct metadata_url=, or pass tokenizer=."
        if is_certificate and not is_secure:
            return f" Where {location} speaks TLS as well, write {self._address.encrypted}."
        hint = (
            " Where its REST address is another one or there is none, pass metadata_url= or "
            "tokenizer=."
        )
        if is_certificate:
            return hint
        itself = f"{'https' if is_secure else 'http'}://{location}"
        return f"{hint} Where {location} is the REST address itself, write {itself}."


class SyncChannel:
    """A channel of `grpc` with the two calls of a codec: `infer` and `metadata`."""

    def __init__(
        self, arguments: Mapping[str, Any], credentials: Any, codec: Codec, *, new: bool = False
    ) -> None:
        self._arguments = arguments, credentials
        self._channel = _open_channel(grpc, *self._arguments, new=new)
        infer, metadata = _calls(self._channel, codec)
        self.infer, self.metadata = partial(_call, infer), partial(_call, metadata)

    def can_connect(self, timeout: float) -> bool:
        """Return whether the server takes part in a new connection."""
        with _open_channel(grpc, *self._arguments, new=True) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout)
            except grpc.FutureTimeoutError:
                return False
            return True

    def close(self) -> None:
        """Close the channel, which ends its calls."""
        self._channel.close()


class AsyncChannel:
    """A channel of `grpc.aio`, opened at the first call: it belongs to the loop that runs then."""

    def __init__(
        self, arguments: Mapping[str, Any], credentials: Any, codec: Codec, *, new: bool = False
    ) -> None:
        self._arguments = arguments, credentials
        self._codec = codec
        self._new = new
        self._opened: tuple[Any, Any, Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def infer(self, request: Any, **arguments: Any) -> Any:
        """Return the call that runs the model, to be awaited.

        Args:
            request: A request as the codec made it.
            **arguments: The timeout and the metadata of the call.
        """
        _, infer, _ = self._open()
        return infer(request, **arguments)

    def metadata(self, request: Any, **arguments: Any) -> Any:
        """Return the call that describes the model, to be awaited.

        Args:
            request: A request as the codec made it.
            **arguments: The timeout and the metadata of the call.
        """
        _, _, metadata = self._open()
        return metadata(request, **arguments)

    async def can_connect(self, timeout: float) -> bool:
        """Return whether the server takes part in a new connection."""
        async with _open_channel(grpc.aio, *self._arguments, new=True) as channel:
            try:
                async with asyncio.timeout(timeout):
                    await channel.channel_ready()
            except TimeoutError:
                return False
            return True

    async def close(self) -> None:
        """Close the channel, which ends its calls."""
        if self._loop is not None and self._loop.is_closed():
            self._opened = (
                None  # Only its loop could close the channel: it ends with the reference.
            )
        if self._opened is not None:
            await self._opened[0].close()

    def _open(self) -> tuple[Any, Any, Any]:
        if self._opened is None:
            channel = _open_channel(grpc.aio, *self._arguments, new=self._new)
            self._loop = asyncio.get_running_loop()
            self._opened = channel, *_calls(channel, self._codec)
        return self._opened


def _call(method: Any, request: Any, **arguments: Any) -> Any:
    """Make a call in this thread, in such a way that another one can end it if one wants to."""
    cancellation = CANCELLATION.get()
    if cancellation is None:
        return method(request, **arguments)
    call = method.future(request, **arguments)
    cancellation.watch(call.cancel)
    try:
        return call.result()
    except grpc.FutureCancelledError:
        # It is the call itself that has the status CANCELLED.
        raise call from None


def _open_channel(
    module: Any, arguments: Mapping[str, Any], credentials: Any, *, new: bool = False
) -> Any:
    """Open a channel of `grpc` or of `grpc.aio`, with a new connection if that is asked for."""
    if new:
        # Channels with equal arguments share their connections otherwise.
        options = *arguments["options"], ("grpc.use_local_subchannel_pool", 1)
        arguments = {**arguments, "options": options}
    if credentials is None:
        return module.insecure_channel(**arguments)
    return module.secure_channel(**arguments, credentials=credentials)


def _calls(channel: Any, codec: Codec) -> tuple[Any, Any]:
    """Return the calls of a codec's two methods over a channel of either kind."""
    return (
        channel.unary_unary(
            codec.infer_method,
            request_serializer=_serialize,
            response_deserializer=codec.infer_response.FromString,
        ),
        channel.unary_unary(
            codec.metadata_method,
            request_serializer=_serialize,
            response_deserializer=codec.metadata_response.FromString,
        ),
    )


def _serialize(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized


def channel_arguments(
    address: Address,
    security: Security | None = None,
    proxy: Proxy | None = None,
    channel_options: ChannelOptions = (),
) -> dict[str, Any]:
    """Return the arguments of `grpc.insecure_channel` and its kin: a target and options.

    Args:
        address: A gRPC address.
        security: The names by which the server is called.
        proxy: The proxy to go through.
        channel_options: Options of the user's, which count above those of this project.

    Returns:
        Keyword arguments.
    """
    round_robin = address.is_round_robin
    reconnect_ms = int(_defaults.RECONNECT_SECONDS * 1000)
    options: dict[str, Any] = {
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": _defaults.RESPONSE_LIMIT_BYTES,
        "grpc.keepalive_time_ms": int(_defaults.KEEPALIVE_SECONDS * 1000),
        "grpc.keepalive_timeout_ms": int(_defaults.KEEPALIVE_TIMEOUT_SECONDS * 1000),
        # For gRPC this is how long TCP, TLS and HTTP/2 may take to connect, whatever its name says.
        "grpc.min_reconnect_backoff_ms": int(_defaults.CONNECT_SECONDS * 1000),
        "grpc.initial_reconnect_backoff_ms": int(_defaults.BACKOFF_SECONDS * 1000),
        "grpc.max_reconnect_backoff_ms": reconnect_ms,
        # A server that is started anew may have another address.
        "grpc.dns_min_time_between_resolutions_ms": reconnect_ms,
        # gRPC itself would take loopback to the proxies of the environment, too.
        "grpc.enable_http_proxy": int(proxy is not None),
    }
    if round_robin:
        options["grpc.service_config"] = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
    if proxy is not None:
        options["grpc.http_proxy"] = proxy.url
    options |= Names.of(address, security or Security()).grpc_options(address)
    options |= dict(channel_options)
    return {
        "target": f"dns:///{address.location}" if round_robin else address.location,
        "options": tuple(options.items()),
    }
