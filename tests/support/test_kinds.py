from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path, PurePath

import pytest

from tests.support.kinds import FOLDERS, KINDS, is_thorough, kind_of

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("path", "fixtures", "kind"),
    [
        ("client/qa/test_decoding.py", (), "unit"),
        ("client/client/test_client.py", ("engine", "server"), "integration"),
        ("client/transport/test_grpc.py", (), "integration"),
        ("client/transport/codecs/test_tensors.py", (), "unit"),
        ("build/test_inspection.py", ("demo_build", "demo_repository"), "e2e"),
        ("cli/verbs/test_ask.py", ("engine",), "e2e"),
        ("cli/test_main.py", (), "unit"),
        ("deploy/config_file/test_under_load.py", (), "e2e"),
    ],
)
def test_folder_and_fixtures_decide(path: str, fixtures: tuple[str, ...], kind: str) -> None:
    assert kind_of(PurePath(path), fixtures) == kind


def test_builds_and_what_needs_one_are_thorough() -> None:
    assert is_thorough(PurePath("build/test_recipe.py"), ())
    assert is_thorough(PurePath("cli/verbs/test_evaluate.py"), ("demo_build",))
    assert is_thorough(PurePath("deploy/cluster/test_target.py"), ())
    assert not is_thorough(PurePath("client/client/test_client.py"), ("engine",))


def test_every_collected_test_has_exactly_one_kind(request: pytest.FixtureRequest) -> None:
    marks = {
        item.nodeid: [mark.name for mark in item.iter_markers() if mark.name in KINDS]
        for item in request.session.items
    }
    assert len(marks) >= 1
    assert {name: kinds for name, kinds in marks.items() if len(kinds) != 1} == {}


def test_a_mark_of_its_own_wins(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
        "markers = unit\n  integration\n  e2e\n"
    )
    pytester.makeconftest("from tests.conftest import pytest_collection_modifyitems")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.e2e
        def test_marked(): ...

        def test_plain(): ...
        """
    )
    for kind, name in (("e2e", "test_marked"), ("unit", "test_plain")):
        pytester.runpytest("-m", kind, "-v").stdout.fnmatch_lines([f"*::{name} PASSED*"])


def test_pytest_looks_into_every_folder_that_has_tests(request: pytest.FixtureRequest) -> None:
    ignored = request.config.getini("norecursedirs")
    folders = {path.relative_to(TESTS).parent for path in TESTS.rglob("test_*.py")}
    parts = {part for folder in folders for part in folder.parts}
    assert len(parts) > 10
    assert {part for part in parts if any(fnmatch(part, each) for each in ignored)} == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_exist(folder: str) -> None:
    assert (TESTS / folder).exists()
