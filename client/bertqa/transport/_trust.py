"""The certificates that the system trusts: those of OpenSSL, over gRPC as over REST."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

from bertqa._reason import check_rereadable, reason_of
from bertqa.errors import InvalidOptionError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# The names by which OpenSSL looks for certificates in a directory.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_KEY_LOG = "SSLKEYLOGFILE"


def default_context(ca: str | None = None) -> ssl.SSLContext:
    """Return a TLS context as Python makes it, which writes its keys where `SSLKEYLOGFILE` says.

    Args:
        ca: A file with the certificates to trust, None for what OpenSSL finds by itself.

    Raises:
        InvalidOptionError: The file of that variable cannot be written.
        ssl.SSLError: `ca` holds no certificate that can be used.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise
    except OSError as error:
        name = os.environ.get(_KEY_LOG, "")
        raise InvalidOptionError(
            f"{name}, of the environment variable {_KEY_LOG}, cannot be written: "
            f"{reason_of(error)}. Correct the variable, or unset it."
        ) from error


def system_context() -> ssl.SSLContext:
    """Return a TLS context that trusts what the system trusts.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name other files, as for every program that uses OpenSSL.

    Raises:
        InvalidOptionError: One of these variables names what cannot be used, or there is no
            certificate at all.
    """
    paths = ssl.get_default_verify_paths()
    context = default_context()
    file = os.environ.get(paths.openssl_cafile_env)
    if file:
        try:
            check_rereadable(Path(file))
            context.load_verify_locations(cafile=file)
        except (OSError, ValueError) as error:  # An SSLError is an OSError.
            raise _unusable(paths.openssl_cafile_env, file, reason_of(error)) from error
    for directory in _directories() if os.environ.get(paths.openssl_capath_env) else ():
        if not directory.is_dir():
            raise _unusable(paths.openssl_capath_env, str(directory), "it is not a directory")
    if not (context.cert_store_stats()["x509"] or _hashed_files()):
        raise InvalidOptionError(
            "This system has no certificates to trust: pass the certificate of the server's "
            "authority as ca= of TLS, or name a file with such certificates in the environment "
            f"variable {paths.openssl_cafile_env}."
        )
    return context


def system_certificates() -> bytes:
    """Return the certificates that the system trusts, as PEM, for what does not use OpenSSL.

    Raises:
        InvalidOptionError: As `system_context` does.
    """
    context = system_context()
    file = ssl.get_default_verify_paths().cafile
    files = [*([] if file is None else [Path(file)]), *_hashed_files()]
    found = dict.fromkeys(each for path in files for each in _CERTIFICATE.findall(_read(path)))
    # A system without such files, as Windows is, has a store of its own.
    store = map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))
    return b"\n".join(found) if found else "".join(store).encode()


def _directories() -> list[Path]:
    paths = ssl.get_default_verify_paths()
    names = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
    return [Path(each) for each in names.split(os.pathsep) if each]


def _hashed_files() -> list[Path]:
    return [
        each
        for directory in _directories()
        if directory.is_dir()
        for each in sorted(directory.iterdir())
        if _HASHED.fullmatch(each.name)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # OpenSSL passes over what it cannot read, such as a link to nothing.
        return b""


def _unusable(variable: str, name: str, fault: str) -> InvalidOptionError:
    return InvalidOptionError(
        f"{name}, of the environment variable {variable}, cannot be used: {fault}. Correct the "
        "variable, or pass ca= of TLS."
    )
