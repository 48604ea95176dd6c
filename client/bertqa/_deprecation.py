"""The one way to take away what users may rely on: first it warns, then it goes."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

ATTRIBUTE = "__bertqa_deprecation__"
"""What is deprecated has its `Deprecation` here."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when something is deprecated, when it goes, and what takes its place.

    Attributes:
        since: The version that warned first.
        removed_in: The version in which it is gone.
        instead: What to use in its place.
    """

    since: str
    removed_in: str
    instead: str

    def message(self, name: str) -> str:
        """Return the warning's text.

        Args:
            name: What is deprecated.
        """
        return (
            f"{name} is deprecated since bertqa {self.since} and is removed in {self.removed_in}. "
            f"Use {self.instead}."
        )


def deprecated(
    *, since: str, removed_in: str, instead: str
) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator for a function, a method or a class, which works as before and warns.

    Args:
        since: The version that warns first.
        removed_in: The version in which it is gone; a test fails where it is still there then.
        instead: What to use in its place.

    Returns:
        The decorator. Each call, and each object of a class, makes a `DeprecationWarning` at the
        line of the caller.
    """
    deprecation = Deprecation(since, removed_in, instead)

    def decorate(decorated: _Decorated) -> _Decorated:
        text = deprecation.message(decorated.__qualname__)
        if inspect.isclass(decorated):
            # Otherwise `isinstance` and subclasses would end.
            made = decorated.__init__  # type: ignore[misc]
            decorated.__init__ = _warning(made, text)  # type: ignore[misc]
            found: Any = decorated
        else:
            found = _warning(decorated, text)
        setattr(found, ATTRIBUTE, deprecation)
        return cast(_Decorated, found)

    return decorate


def _warning(function: Callable[..., Any], text: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def warn_and_call(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    if inspect.iscoroutinefunction(function):
        return inspect.markcoroutinefunction(cast(Any, warn_and_call))
    return warn_and_call
