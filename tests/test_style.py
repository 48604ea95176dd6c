"""How the project speaks: its error texts and docstrings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.messages import PLACEHOLDER, docstrings, error_texts, function_names
from tests.support.sections import undocumented

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "client" / "bertqa"
PROGRAMS = (
    ROOT / "serve" / "bertqa_serve",
    ROOT / "build" / "bertqa_build",
    ROOT / "deploy" / "bertqa_deploy",
    ROOT / "cli" / "bertqa_cli",
)

OLD_WORDS = (
    r"(?<!there )\b(?:is|are) no (?!longer\b)\w+|"
    r"\b(?:nobody|somebody|anybody|whoever|gives?(?! up)|tells?|told|says? of)\b|"
    r"\b(?:goes|go|went) on\b"
)
BANNED = re.compile(rf"{OLD_WORDS}|\b(?:is|are) none\b", re.IGNORECASE)
# A keyword of Python that is left open, as in `timeout=`; `1=90` and `key=value` are none.
KEYWORD = re.compile(r"(?<![.\w])[a-z]\w*=(?![\w=./\"'<…])|(?<![.\w])[a-z]\w*=(?=[. ]?$)")
# The name of an option or key may begin a message: `timeout is 0, but`, `max_seq_len leaves`.
BEGINNING = re.compile(
    rf"[A-Z0-9`'\"(/{PLACEHOLDER}]|--\w|[a-z_]+ is {PLACEHOLDER}|[a-z]+_\w+|[a-z]+="
)
ENDING = re.compile(rf"[.?!)`{PLACEHOLDER}]$")
OLD_VERBS = re.compile(r"(?:Gives?|Tells?|Says?|Give back)\b")
VERBS = ROOT / "cli" / "bertqa_cli" / "verbs"


def complaints(check: Callable[[str], str | None], *roots: Path) -> Iterator[str]:
    for place, text in error_texts(*roots):
        if complaint := check(text):
            yield f"{Path(place).relative_to(ROOT)}: {complaint}: {text}"


def sentence(text: str) -> str | None:
    if not BEGINNING.match(text):
        return "does not begin as a sentence"
    if not ENDING.search(text):
        return "does not end as a sentence"
    if banned := BANNED.search(text):
        return f"says {banned[0]!r}"
    return None


def keyword(text: str) -> str | None:
    found = KEYWORD.search(text)
    return f"names the Python keyword {found[0]}" if found else None


def report(found: list[str]) -> str:
    return f"{len(found)} texts\n" + "\n".join(found)


def test_there_are_texts_to_look_at() -> None:
    assert len(list(error_texts(LIBRARY, *PROGRAMS))) > 250
    assert len(list(docstrings(LIBRARY, *PROGRAMS))) > 500


def test_every_error_is_a_sentence_in_plain_words() -> None:
    found = list(complaints(sentence, LIBRARY, *PROGRAMS))
    assert not found, report(found)


def test_no_program_names_a_keyword_of_python() -> None:
    found = list(complaints(keyword, *PROGRAMS))
    assert not found, report(found)


def test_docstrings_begin_as_those_of_other_libraries() -> None:
    found = [
        f"{Path(place).relative_to(ROOT)}: {text.splitlines()[0]}"
        for place, text in docstrings(LIBRARY, *PROGRAMS)
        if OLD_VERBS.match(text)
    ]
    assert not found, report(found)


def test_docstrings_and_names_use_plain_words() -> None:
    roots = (LIBRARY, *PROGRAMS, ROOT / "tools", ROOT / "tests")
    names = ((place, name.replace("_", " ")) for place, name in function_names(*roots))
    found = [
        f"{Path(place).relative_to(ROOT)}: {banned[0]}"
        for place, text in itertools.chain(docstrings(*roots), names)
        if (banned := re.search(OLD_WORDS, text, re.IGNORECASE))
    ]
    assert not found, report(found)


def test_public_functions_document_what_they_take_and_return() -> None:
    """A public function has a docstring that explains each parameter in `Args`.

    What it returns is in `Returns` or `Yields`, or in a first sentence that begins with "Return"
    or "Yield"; where such a function takes one argument, that sentence is enough. What fulfils a
    contract may refer to it: "see `Transport.infer`". Properties need no section, and the
    docstrings of the command's verbs are their help texts.
    """
    found = [
        each
        for root in (LIBRARY, *PROGRAMS, ROOT / "tools")
        for each in undocumented(root)
        if not each.startswith(str(VERBS))
    ]
    assert not found, report(found)
