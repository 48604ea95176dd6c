"""Public names whose modules are imported when they are asked for: some take long."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib import import_module
from typing import Any

_MISSING = object()


def late_name(package: str, name: str, public: Collection[str], modules: Iterable[str]) -> Any:
    """Return a public name of a package, from the first of its modules that has it.

    Args:
        package: The name of the package.
        name: What is asked for.
        public: The names that the package offers.
        modules: The names of its modules, each without that of the package, from the bottom up:
            none is imported beyond the one that has the name.

    Raises:
        AttributeError: The package does not offer the name.
    """
    for each in modules if name in public else ():
        value = getattr(import_module(f"{package}.{each}"), name, _MISSING)
        if value is not _MISSING:
            return value
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
