"""A certificate authority of a test, and servers with its certificates."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme

PAST = datetime(2001, 1, 1, tzinfo=UTC)
EXPIRED = datetime(2002, 1, 1, tzinfo=UTC)


class Authority:
    """An authority, with its certificate and a client's in PEM files of a directory."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        client = self._ca.issue_cert("client.example")
        self.ca, self.certificate, self.key = (
            directory / f"{name}.pem" for name in ("ca", "certificate", "key")
        )
        self._ca.cert_pem.write_to_path(str(self.ca))
        client.cert_chain_pems[0].write_to_path(str(self.certificate))
        client.private_key_pem.write_to_path(str(self.key))

    def context(
        self,
        name: str = "localhost",
        *,
        alpn: str = "h2",
        expired: bool = False,
        mutual: bool = False,
    ) -> ssl.SSLContext:
        """The context of a server whose certificate is for a name."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols([alpn])
        self.certify(context, name, expired=expired)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            self._ca.configure_trust(context)
        return context

    def certify(
        self, context: ssl.SSLContext, name: str = "localhost", *, expired: bool = False
    ) -> None:
        """Load a certificate for a name into the context of a server, in place of any other."""
        valid: dict[str, Any] = {"not_before": PAST, "not_after": EXPIRED} if expired else {}
        self._ca.issue_cert(name, **valid).configure_cert(context)
