"""By which names a server is called, over gRPC as over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from bertqa.transport._address import Address
from bertqa.transport._security import Security

_USER_AGENT = f"bertqa/{version('bertqa')}"
_HOST, _AGENT = "host", "user-agent"


@dataclass(frozen=True, slots=True)
class Names:
    """The names in a call to a server.

    Attributes:
        host: The header `Host`, or `:authority` over gRPC; None is that of the address.
        certificate: The name that the server's certificate is checked against, and the one that
            TLS asks for; None is that of the address.
        agent: What the client calls itself.
    """

    host: str | None
    certificate: str | None
    agent: str

    @classmethod
    def of(cls, address: Address, security: Security) -> Names:
        """Return the names in calls to an address.

        Args:
            address: The address. It may be an IP address of the name that is its authority.
            security: The header `Host`, the server's name in its certificate, and `User-Agent`.
        """
        server_name = security.server_name if address.is_secure else None
        of_address = address.authority and f"{address.authority}:{address.port}"
        return cls(
            security.headers.get(_HOST) or server_name or of_address,
            server_name or address.authority,
            security.headers.get(_AGENT) or _USER_AGENT,
        )

    def headers(self) -> dict[str, str]:
        """Return the headers of HTTP that say so."""
        host = {} if self.host is None else {_HOST: self.host}
        return {**host, _AGENT: self.agent}

    def grpc_options(self, address: Address) -> dict[str, str]:
        """Return the options of a gRPC channel that say so.

        Args:
            address: The address of the channel.
        """
        options = {"grpc.primary_user_agent": self.agent}
        if self.host is not None:
            options["grpc.default_authority"] = self.host
            if address.is_secure:
                # The certificate would be checked against the authority otherwise.
                options["grpc.ssl_target_name_override"] = self.certificate or address.host
        return options


def without_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers for the metadata of a gRPC call, where the options of the channel have names.

    Args:
        headers: The headers by lower-case name.
    """
    return {name: value for name, value in headers.items() if name not in (_HOST, _AGENT)}
