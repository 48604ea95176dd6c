"""Text in, answer out: an HTTP API that every language can call, and a page to try it.

It tokenises and decodes in front of a server that speaks tensors, and needs no engine itself.
"""

from bertqa_serve.http_api.app import create_app
from bertqa_serve.http_api.backend import Backend, ServerBackend, SideBySide, System
from bertqa_serve.http_api.options import HttpApiOptions, Recording
from bertqa_serve.http_api.server import http_api_beside, serve_http_api
from bertqa_serve.http_api.tracks import read_tracks

__all__ = [
    "Backend",
    "HttpApiOptions",
    "Recording",
    "ServerBackend",
    "SideBySide",
    "System",
    "create_app",
    "http_api_beside",
    "read_tracks",
    "serve_http_api",
]
