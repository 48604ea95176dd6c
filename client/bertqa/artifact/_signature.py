"""Signatures of versions, by OpenSSF's model-signing with a pair of elliptic-curve keys.

What is signed is `manifest.json`, which has the digest of each file of its version: a signature
counts wherever the manifest goes, and to check a version each file is read once.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bertqa._reason import reason_of
from bertqa.artifact._files import sha256_of
from bertqa.artifact._manifest import MANIFEST_FILE, VersionManifest
from bertqa.errors import InvalidOptionError, RepositoryError, SignatureError

SIGNATURE_FILE = f"{MANIFEST_FILE}.sig"

_T = TypeVar("_T")
_ANEW = "get the version anew from where it was published"
# OVMS reads "2.tmp" as version 2, and "02" too.
_NUMBER_FOR_OVMS = re.compile(r"[\s+-]*[0-9]")
_NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)
_MADE_BY = {
    "private": "openssl ecparam -name prime256v1 -genkey -noout",
    "public": "openssl ec -in PRIVATE.pem -pubout",
}
# With one of these OVMS serves a graph in the model's place, and what the graph names.
_GRAPHS = ("graph.pbtxt", "1/graph.pbtxt")


class VerifyKey:
    """The public key of those whose versions are taken."""

    def __init__(self, path: Path) -> None:
        """Read the key.

        Args:
            path: A PEM file with the public key of a pair on the curve P-256, P-384 or P-521.

        Raises:
            InvalidOptionError: It holds no such key.
            ModuleNotFoundError: The extra `sign` is not installed.
        """
        from model_signing import verifying

        config: Any = verifying.Config
        self.path = path
        self._config: Any = _loaded(
            path, "public", lambda: config().use_elliptic_key_verifier(public_key=path)
        )

    def check(self, manifest: Path, signature: Path, *, origin: str | None = None) -> None:
        """Refuse a manifest that the key's owner did not sign as it is.

        Args:
            manifest: The manifest.
            signature: Its signature, which may be missing.
            origin: Where both are from, for messages; None names the files themselves.

        Raises:
            SignatureError: It is not signed, or with another key, or was changed since.
        """
        name = str(manifest) if origin is None else f"the manifest of {origin}"
        of_signature = str(signature) if origin is None else f"The signature of {origin}"
        if not signature.is_file():
            raise unsigned(of_signature)
        try:
            # It prints a warning of what an older release of it signed.
            with contextlib.redirect_stdout(io.StringIO()):
                self._config.verify(manifest.resolve(), signature)
        # A file that anybody can have written fails in any of its parsers.
        except Exception as error:
            text = str(error)
            if text.startswith("Key mismatch"):
                found = f"was made with another key than that of {self.path}"
            elif text.startswith("Signature mismatch"):
                found = f"does not fit {name}, which was changed since"
            else:
                found = f"is not one of {name} by the key of {self.path}"
            raise SignatureError(
                f"{of_signature} {found}: pass the key of those who published it, or {_ANEW}.",
                detail=text.strip() or type(error).__name__,
            ) from error


class SigningKey:
    """The private key that versions are signed with."""

    def __init__(self, path: Path) -> None:
        """Read the key.

        Args:
            path: A PEM file with a private key on the curve P-256, P-384 or P-521, which is not
                encrypted.

        Raises:
            InvalidOptionError: It holds no such key.
            ModuleNotFoundError: The extra `sign` is not installed.
        """
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            load_pem_private_key,
        )
        from model_signing import signing

        config: Any = signing.Config
        self._config: Any = _loaded(
            path, "private", lambda: config().use_elliptic_key_signer(private_key=path)
        )
        self._public = (
            load_pem_private_key(path.read_bytes(), None)
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def signature_of(self, manifest: Path) -> str:
        """Return the text of a signature, a bundle of Sigstore in JSON, which is never the same.

        Args:
            manifest: The manifest to sign.

        Raises:
            OSError: It cannot be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            signature = Path(folder, SIGNATURE_FILE)
            self._config.sign(manifest.resolve(), signature)
            return signature.read_text(encoding="utf-8")

    def has_signed(self, manifest: Path, signature: Path) -> bool:
        """Return whether a signature is of this key, and of the manifest as it is.

        Args:
            manifest: The manifest.
            signature: The signature, which may be missing.
        """
        with tempfile.TemporaryDirectory() as folder:
            public = Path(folder, "public.pem")
            public.write_bytes(self._public)
            try:
                VerifyKey(public).check(manifest, signature)
            except SignatureError:
                return False
        return True


def require_signed(directory: Path, key: VerifyKey) -> None:
    """Refuse a version that the owner of a key did not sign as it lies there, with all its files.

    A version that was copied under another number or name is refused too, and so is a symbolic
    link, which may lead elsewhere for the server, as in its container, and what OVMS would take for
    a model in the version or beside it.

    Args:
        directory: The version's directory in a repository.
        key: The key.

    Raises:
        SignatureError: It is not signed, or with another key, or was changed since.
        RepositoryError: Its manifest is not one, or a file cannot be read.
    """
    manifest_file = directory / MANIFEST_FILE
    key.check(manifest_file, directory / SIGNATURE_FILE)
    manifest = VersionManifest.read(manifest_file)
    signed, found = (manifest.model, str(manifest.version)), (directory.parent.name, directory.name)
    if signed != found:
        raise SignatureError(
            f"{manifest_file} was signed as that of version {signed[1]} of {signed[0]}, so "
            f"{directory} is a copy under another number or name: remove it."
        )
    names = {MANIFEST_FILE, SIGNATURE_FILE, *manifest.files}
    require_plain_versions(directory.parent)
    try:
        paths = sorted(directory.iterdir())
        for path in paths:
            if path.name not in names:
                raise SignatureError(f"{path} is not among the files that were signed: remove it.")
        for path in (directory.parent, directory, *paths):
            if path.is_symlink():
                raise SignatureError(
                    f"{path} is a symbolic link, which may lead elsewhere for the server: put what "
                    "it leads to in its place."
                )
        changed = changed_file(directory, manifest)
    except OSError as error:
        raise RepositoryError(f"{directory} cannot be read: {reason_of(error)}.") from error
    if changed is not None:
        raise SignatureError(f"{changed} is missing, or is not the file that was signed: {_ANEW}.")


def require_plain_versions(model: Path) -> None:
    """Refuse what OVMS would serve from a model's directory beside versions with a number.

    Args:
        model: The directory, which may be missing.

    Raises:
        SignatureError: It is a single file, or something in it is a version or a graph for OVMS.
        RepositoryError: It cannot be read.
    """
    if model.is_file():
        raise SignatureError(
            f"{model} is a single file, for which there is no signature: publish it as a version."
        )
    try:
        paths = sorted(model.iterdir()) if model.exists() else []
    except OSError as error:
        raise RepositoryError(f"{model} cannot be read: {reason_of(error)}.") from error
    for path in paths:
        if _NUMBER_FOR_OVMS.match(path.name) and not _NUMBER.fullmatch(path.name):
            raise SignatureError(
                f"{path} is a version for OVMS, and has no number that could be verified: "
                "remove it."
            )
    for name in _GRAPHS:
        if (model / name).exists():
            raise SignatureError(
                f"{model / name} is a graph, which OVMS would serve in place of the versions: "
                "remove it."
            )


def changed_file(directory: Path, manifest: VersionManifest) -> Path | None:
    """Return a file that is missing or has another digest than the manifest says, if there is one.

    Args:
        directory: The version's directory.
        manifest: Its manifest.

    Raises:
        OSError: A file cannot be read.
    """
    for name, digest in manifest.files.items():
        path = directory / name
        if not path.is_file() or sha256_of(path) != digest:
            return path
    return None


def unsigned(signature: str) -> SignatureError:
    """Return the error that says that a version has no signature.

    Args:
        signature: Where it should be.
    """
    return SignatureError(
        f"{signature} is missing, so the version is not signed: sign it with --sign of "
        "`bert-qa build` or `bert-qa publish`, or choose another one."
    )


def _loaded(path: Path, kind: str, load: Callable[[], _T]) -> _T:
    try:
        return load()
    # Each kind of a wrong key is another kind of exception.
    except Exception as error:
        raise InvalidOptionError(
            f"{path} is not a {kind} key that can be used: pass a PEM file with the {kind} key of "
            f"a pair on the curve P-256, P-384 or P-521, not encrypted, such as `{_MADE_BY[kind]}` "
            "makes.",
            detail=reason_of(error),
        ) from error
