"""Addresses of repositories: a directory, or a container of a store in the form OVMS reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bertqa.errors import InvalidOptionError

AZURE, S3, GOOGLE = "az", "s3", "gs"
FORMS = "az://container/path, s3://bucket/path, gs://bucket/path or a directory"

_OTHER_NAMES = {
    **dict.fromkeys(("azure", "abfs", "abfss", "wasb", "wasbs", "azfs", "adl"), AZURE),
    **dict.fromkeys(("s3a", "s3n"), S3),
    "gcs": GOOGLE,
}
_CONTAINER = re.compile(r"[a-z0-9$][a-z0-9._-]{1,221}")
_PART = re.compile(r"[A-Za-z0-9._=+-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is.

    Attributes:
        scheme: `az`, `s3` or `gs`; empty for a directory.
        path: A directory, or the container of a store and the path in it.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}" if self.scheme else self.path

    @property
    def container(self) -> str:
        """The container or bucket of a store."""
        return self.path.partition("/")[0]

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address.

        Args:
            text: A directory, or a URL such as `az://container/path`.

        Returns:
            The address in its parts.

        Raises:
            InvalidOptionError: OVMS would not read a repository there.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            if text.partition(":")[0] in (AZURE, S3, GOOGLE, *_OTHER_NAMES) and ":" in text:
                raise InvalidOptionError(f"The address {text!r} lacks //: write {FORMS}.")
            if not text.strip():
                raise InvalidOptionError(f"The address is empty: write {FORMS}.")
            return cls("", text)
        if scheme in _OTHER_NAMES:
            right = _OTHER_NAMES[scheme]
            raise InvalidOptionError(
                f"OVMS does not read a repository at {scheme}://: write {right}:// for {text!r}."
            )
        if scheme not in (AZURE, S3, GOOGLE):
            raise InvalidOptionError(
                f"A repository cannot be at {scheme}://, as in {text!r}: write {FORMS}."
            )
        container, *parts = rest.rstrip("/").split("/")
        if not _CONTAINER.fullmatch(container):
            raise InvalidOptionError(
                f"{text!r} does not name a container: {container!r} should be lower-case letters, "
                "digits and hyphens. The account and the endpoint come from the environment."
            )
        for part in parts:
            if not _PART.fullmatch(part) or set(part) == {"."}:
                raise InvalidOptionError(
                    f"The path of {text!r} is not valid: {part!r} should be letters, digits and "
                    "any of . _ = + -."
                )
        return cls(scheme, "/".join((container, *parts)))
