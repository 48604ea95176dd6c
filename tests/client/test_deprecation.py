"""What is deprecated works as before, says so where it is used, and is gone when it was to be."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import bertqa
from bertqa._deprecation import deprecated

ROOT = Path(__file__).parents[2]
ROOMS = ("client", "serve", "build", "deploy", "cli")
old = deprecated(since="0.3.0", removed_in="0.4.0", instead="`new`")


@old
def add(one: int, two: int = 2) -> int:
    """Add two numbers."""
    return one + two


@old
async def wait(value: str) -> str:
    return value


@old
class Thing:
    def __init__(self, name: str) -> None:
        self.name = name


class Client:
    @old
    def ask(self) -> str:
        return "answer"

    @property
    @old
    def size(self) -> int:
        return 3


def test_a_function_works_as_before_and_warns_at_the_line_of_its_caller() -> None:
    with pytest.warns(DeprecationWarning, match="add is deprecated") as caught:
        assert add(1) == 3
    assert [str(each.message) for each in caught] == [
        "add is deprecated since bertqa 0.3.0 and is removed in 0.4.0. Use `new`."
    ]
    assert caught[0].filename == __file__
    assert add.__name__ == "add"
    assert add.__doc__ == "Add two numbers."
    assert list(inspect.signature(add).parameters) == ["one", "two"]


async def test_an_asynchronous_function_stays_one() -> None:
    with pytest.warns(DeprecationWarning, match="wait is deprecated"):
        assert await wait("x") == "x"


def test_a_class_stays_one() -> None:
    with pytest.warns(DeprecationWarning, match="Thing is deprecated"):
        thing = Thing("a")
    assert isinstance(thing, Thing)
    assert thing.name == "a"
    with pytest.warns(DeprecationWarning, match="Thing is deprecated"):

        class Child(Thing):
            pass


def test_a_method_and_a_property_are_named_with_their_class() -> None:
    client = Client()
    with pytest.warns(DeprecationWarning, match=r"Client\.ask is deprecated"):
        assert client.ask() == "answer"
    with pytest.warns(DeprecationWarning, match=r"Client\.size is deprecated"):
        assert client.size == 3


def test_what_is_not_used_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        old(lambda: None)


Version = tuple[int, int, int]


def version_of(text: str) -> Version:
    major, minor, patch = map(int, text.split("."))
    return major, minor, patch


def objections(source: str, now: Version) -> Iterator[str]:
    """What is wrong with the deprecations in a source, in a version of the distribution.

    Before 1.0.0 a minor version may take away, later on a major version.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if not isinstance(decorator, ast.Call) or "deprecated" not in ast.unparse(
                decorator.func
            ):
                continue
            said = {each.arg: ast.literal_eval(each.value) for each in decorator.keywords}
            since, removed_in = version_of(said["since"]), version_of(said["removed_in"])
            counts = 1 if since[0] else 2
            if now >= removed_in:
                yield f"{node.name} was to be removed in {said['removed_in']}"
            elif removed_in[:counts] <= since[:counts] or any(removed_in[counts:]):
                yield f"{node.name} is removed in {said['removed_in']}, which may not take away"
            elif since > now:
                yield f"{node.name} is deprecated since {said['since']}, which is not there yet"


@pytest.mark.parametrize(
    ("since", "removed_in", "now", "objection"),
    [
        ("0.3.0", "0.4.0", "0.3.1", None),
        ("0.3.0", "1.0.0", "0.9.0", None),
        ("1.2.0", "2.0.0", "1.9.0", None),
        ("0.3.0", "0.4.0", "0.4.0", "was to be removed in 0.4.0"),
        ("0.3.0", "0.4.0", "1.0.0", "was to be removed in 0.4.0"),
        ("0.3.0", "0.3.5", "0.3.1", "which may not take away"),
        ("0.3.0", "0.4.1", "0.3.1", "which may not take away"),
        ("1.2.0", "1.9.0", "1.3.0", "which may not take away"),
        ("0.4.0", "0.5.0", "0.3.0", "which is not there yet"),
    ],
)
@pytest.mark.parametrize("kind", ["def f(): ...", "async def f(): ...", "class f: ..."])
def test_when_something_may_go(
    kind: str, since: str, removed_in: str, now: str, objection: str | None
) -> None:
    source = f"@deprecated(since='{since}', removed_in='{removed_in}', instead='g')\n{kind}"
    found = list(objections(source, version_of(now)))
    assert len(found) == (objection is not None)
    assert objection is None or objection in found[0]


def test_nothing_is_still_there_that_was_to_be_removed() -> None:
    now = version_of(bertqa.__version__)
    found = [
        f"{path.relative_to(ROOT)}: {objection}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for objection in objections(path.read_text(encoding="utf-8"), now)
    ]
    assert not found
