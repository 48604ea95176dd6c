"""Which options of a gRPC channel can be set: gRPC itself leaves out those that it cannot read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from bertqa._checks import items, shown
from bertqa.errors import InvalidOptionError
from bertqa.transport._headers import fault_of_header

ChannelOption = int | str | bytes
ChannelOptions = Mapping[str, ChannelOption] | Iterable[tuple[str, ChannelOption]]

_LARGEST = 2**31
_NAME = re.compile(r"[\x21-\x7e]+")
_HEADERS = {
    "grpc.default_authority": "host",
    "grpc.primary_user_agent": "user-agent",
    "grpc.secondary_user_agent": "user-agent",
}
_SERVICE_CONFIG = "grpc.service_config"
_TEXTS = frozenset(
    {
        *_HEADERS,
        _SERVICE_CONFIG,
        "grpc.http2_scheme",
        "grpc.http_proxy",
        "grpc.lb_policy_name",
        "grpc.ssl_target_name_override",
    }
)
_NUMBERS = re.compile(r"grpc\..*(_ms|_size|_length)|grpc\.(http2\.|keepalive_|enable_|use_|max_).*")


def checked_channel_options(given: object) -> tuple[tuple[str, ChannelOption], ...]:
    """Return options of a channel as gRPC takes them.

    Args:
        given: A mapping, or pairs, of names and values.

    Raises:
        InvalidOptionError: It is something else, or gRPC would leave an option out.
    """
    checked: dict[str, ChannelOption] = {}
    for name, value in _pairs(given):
        fault = _fault_of(name, value)
        if fault is None and name in checked:
            fault = "it is given twice"
        if fault is not None:
            raise InvalidOptionError(
                f"channel_options= has {shown(name)}: {shown(value)}: {fault}."
            )
        checked[name] = int(value) if isinstance(value, int) else value
    return tuple(checked.items())


def _pairs(given: object) -> list[tuple[str, ChannelOption]]:
    """Return the pairs that a user passed, of whatever types they are."""
    if isinstance(given, Mapping):
        return items("channel_options=", given)
    try:
        if isinstance(given, str | bytes):
            raise TypeError
        pairs = [*given]  # type: ignore[misc]
        if not all(isinstance(each, tuple | list) for each in pairs):
            raise TypeError
        return [(name, value) for name, value in pairs]
    except Exception as error:  # Its methods may raise anything.
        raise InvalidOptionError(
            f"channel_options= is {shown(given)}, but it has to be a mapping, or pairs, of names "
            "and values: {'grpc.max_send_message_length': 1000000}."
        ) from error


def _fault_of(name: object, value: object) -> str | None:
    """Return why gRPC would not take an option, None where it does."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        return "its name has to be a text of printable ASCII, such as 'grpc.keepalive_time_ms'"
    if not isinstance(value, int | str | bytes):
        return "gRPC takes texts, bytes and whole numbers of 32 bits"
    if isinstance(value, int):
        if not -_LARGEST <= value < _LARGEST:
            return "gRPC takes whole numbers of 32 bits"
        return "it has to be a text" if name in _TEXTS else None
    if name not in _TEXTS and _NUMBERS.fullmatch(name):
        return "it has to be a whole number"
    try:
        text = value.decode() if isinstance(value, bytes) else value
        text.encode()
    except UnicodeError:
        return "its value is not UTF-8"
    if "\0" in text:
        return "its value has a null character"
    if name == _SERVICE_CONFIG and not _is_json_object(text):
        return "it has to be the text of a JSON object"
    return fault_of_header(_HEADERS[name], text) if name in _HEADERS else None


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
