from __future__ import annotations

import re

from bertqa import Answer
from bertqa.qa import highlight

CONTEXT = "Rouen <is> the capital of Normandy & its heart."


def answer(text: str, score: float = 0.5) -> Answer:
    start = CONTEXT.index(text)
    return Answer(text, start, start + len(text), score, 2)


def marked(html: str) -> list[tuple[int, str]]:
    """What is marked, with the strength in percent."""
    found = re.findall(r"/ (\d+)%\)[^>]*>(.*?)</mark>", html)
    return [(int(strength), text) for strength, text in found]


def test_the_answer_is_marked_and_all_else_is_text() -> None:
    html = highlight(CONTEXT, answer("Normandy"))._repr_html_()

    assert marked(html) == [(100, "Normandy")]
    assert "Rouen &lt;is&gt; the capital of <mark" in html
    assert html.endswith("</mark> &amp; its heart.</p>")
    assert 'title="score 0.500, version 2"' in html


def test_better_answers_are_marked_stronger() -> None:
    html = highlight(CONTEXT, answer("heart", 0.2), answer("Rouen", 0.8))._repr_html_()

    assert marked(html) == [(100, "Rouen"), (25, "heart")]


def test_where_answers_overlap_the_better_one_counts() -> None:
    html = highlight(CONTEXT, answer("capital of Normandy", 0.4), answer("Normandy"))._repr_html_()

    assert marked(html) == [(80, "capital of "), (100, "Normandy")]


def test_no_answer_marks_nothing() -> None:
    empty = Answer("", 0, 0, 0.9, 1)

    assert repr(highlight(CONTEXT, empty)) == repr(highlight(CONTEXT)) == CONTEXT
    assert "<mark" not in highlight(CONTEXT, empty)._repr_html_()


def test_only_what_is_around_the_answers_is_shown_of_a_long_context() -> None:
    assert repr(highlight(CONTEXT, answer("capital"), around=4)) == "…the [capital] of …"
    assert repr(highlight(CONTEXT, answer("capital"), around=99)) == CONTEXT.replace(
        "capital", "[capital]"
    )
