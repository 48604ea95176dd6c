"""A certificate authority for tests, made with `openssl`."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates; `certificate` is what others trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self.certificate = directory / "ca.crt"
        self._key = directory / "ca.key"
        subject = ("-subj", "/CN=tests", "-addext", "basicConstraints=critical,CA:TRUE")
        self._openssl(
            *("req", "-x509", "-days", "2", *subject, *_new_key(self._key)),
            *("-addext", "keyUsage=keyCertSign", "-out", str(self.certificate)),
        )

    def issue(self, name: str) -> dict[str, bytes]:
        """Return tls.crt and tls.key for a name, as a Secret of that type holds them."""
        certificate, key = self._directory / "issued.crt", self._directory / "issued.key"
        signer = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        self._openssl(
            *("req", "-x509", "-days", "2", "-subj", f"/CN={name}", *signer),
            *("-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=CA:FALSE"),
            *(*_new_key(key), "-out", str(certificate)),
        )
        return {"tls.crt": certificate.read_bytes(), "tls.key": key.read_bytes()}

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def _new_key(path: Path) -> tuple[str, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    return (*curve, "-nodes", "-keyout", str(path))
