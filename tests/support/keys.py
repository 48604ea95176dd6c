"""Pairs of keys to sign versions with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bertqa.artifact import SigningKey, VerifyKey


@dataclass(frozen=True)
class KeyPair:
    """The files of a private key and of its public one."""

    private: Path
    public: Path

    @property
    def sign(self) -> SigningKey:
        return SigningKey(self.private)

    @property
    def verify(self) -> VerifyKey:
        return VerifyKey(self.public)


def write_keys(folder: Path, name: str = "ours", curve: ec.EllipticCurve | None = None) -> KeyPair:
    """Make a pair of keys, and write them to `<name>.pem` and `<name>.public.pem`."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    pair = KeyPair(folder / f"{name}.pem", folder / f"{name}.public.pem")
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pair.public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return pair
