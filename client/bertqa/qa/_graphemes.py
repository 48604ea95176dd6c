"""Where one character, as a reader sees it, ends and the next begins: Unicode's UAX #29.

An extended grapheme cluster is what a reader takes for one character: a letter with its accents,
an emoji with its skin tone, a flag, a syllable of Hangul. Only the text around an edge is read.
"""

from __future__ import annotations

import regex

_CLUSTER = regex.compile(r"\X")


def whole_clusters(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen a span to whole grapheme clusters.

    What is combined with white space is left out where anything else remains, so that no span
    grows over a space. A span of whole clusters, or an empty one, stays as it is.

    Args:
        text: The text.
        start: Where the span begins, in characters.
        end: Where it ends, in characters.

    Returns:
        Where the widened span begins and ends.
    """
    if start >= end:
        return start, end
    edges = text[start - 1 : start + 1], text[end - 1 : end + 1]
    if text.isascii() and "\r\n" not in edges:
        return start, end
    wide_start, wide_end = cluster_start(text, start), cluster_end(text, end)
    if wide_start == start and wide_end == end:
        return start, end
    kept_start, kept_end = wide_start, wide_end
    if wide_start < start and text[wide_start].isspace():
        kept_start = cluster_end(text, start)
    if end < wide_end:
        last = cluster_start(text, end)
        kept_end = last if text[last].isspace() else wide_end
    return (kept_start, kept_end) if kept_start < kept_end else (wide_start, wide_end)


def cluster_end(text: str, at: int) -> int:
    """Return the first place from `at` on where a grapheme cluster ends, in characters.

    Args:
        text: The text.
        at: A place in it.
    """
    return at if _is_boundary(text, at) else _next_boundary(text, at - 1)


def cluster_start(text: str, at: int) -> int:
    """Return the last place up to `at` where a grapheme cluster begins, in characters.

    Args:
        text: The text.
        at: A place in it.
    """
    if _is_boundary(text, at):
        return at
    # A boundary somewhere before is found in steps that double, then the last one up to `at`.
    begin, step, boundary = at, 1, 0
    while begin > 0:
        begin, step = max(begin - step, 0), step * 2
        if begin and (found := _next_boundary(text, begin)) <= at:
            boundary = found
            break
    while (following := _next_boundary(text, boundary)) <= at:
        boundary = following
    return boundary


def _is_boundary(text: str, at: int) -> bool:
    if not 0 < at < len(text):
        return True
    pair = text[at - 1 : at + 1]
    if pair.isascii():
        return pair != "\r\n"
    return _next_boundary(text, at - 1) == at


def _next_boundary(text: str, at: int) -> int:
    """Return the first boundary after `at`, which lies in the text; it need not be one itself."""
    match = _CLUSTER.match(text, at)
    assert match is not None
    end: int = match.end()
    return end
