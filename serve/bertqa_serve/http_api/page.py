"""The page to ask on."""

from __future__ import annotations

import functools
from importlib.resources import files

# Everything comes from this page's own text: no script, style or picture from elsewhere.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@functools.cache
def html() -> str:
    """Return the page: one file, which loads nothing else."""
    return (files("bertqa_serve.http_api") / "page.html").read_text(encoding="utf-8")
