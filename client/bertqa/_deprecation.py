"""The one way to take away what users may rely on: first it warns, then it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typing_extensions

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


def deprecated(*, since: str, removed_in: str, instead: str) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator for a function, a method or a class, which works as before and warns.

    A call, an object and a subclass each make a `DeprecationWarning` at the caller's line. For a
    property or a class method, the decorator stands below `@property` or `@classmethod`.

    Args:
        since: The version that warns first, such as "0.3.0".
        removed_in: The version in which it is gone. A test fails where it is still there then.
        instead: What to use in its place, as in "`QAClient.answers`".

    Returns:
        The decorator.
    """

    def decorate(decorated: _Decorated) -> _Decorated:
        text = (
            f"{decorated.__qualname__} is deprecated since bertqa {since} and is removed in "
            f"{removed_in}. Use {instead}."
        )
        return typing_extensions.deprecated(text)(decorated)

    return decorate
