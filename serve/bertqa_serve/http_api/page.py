"""The page to ask on: one file, which loads nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files


@functools.cache
def html() -> str:
    """Return the page."""
    return (files("bertqa_serve.http_api") / "page.html").read_text(encoding="utf-8")


@functools.cache
def headers() -> Mapping[str, str]:
    """Return what a browser is to know of the page: it runs its own script, and no other."""
    policy = {
        "default-src": "'none'",
        "script-src": _digest("script"),
        "style-src": _digest("style"),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(map(" ".join, policy.items())),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


def _digest(tag: str) -> str:
    (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html(), re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
