"""Headers of single calls, beside those that a transport sends with all of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

CALL_HEADERS: ContextVar[Mapping[str, str]] = ContextVar("CALL_HEADERS", default=NO_HEADERS)
"""What the calls of this context send as well, by lower-case name; it takes precedence."""
