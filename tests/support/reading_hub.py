"""A hub on loopback that serves directories as models and data sets, by the hub's HTTP API."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "5" * 40
"""The commit that `main` and `v1` are; other revisions there are none."""
_REVISIONS = ("main", "v1", COMMIT)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repositories: Mapping[str, Path]

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        parts = [unquote(each) for each in urlsplit(self.path).path.strip("/").split("/")]
        is_api = parts[0] == "api"
        parts = parts[is_api:]
        kind = parts.pop(0) if parts[0] in ("models", "datasets") else "models"
        name, rest = "/".join(parts[:2]), parts[2:]
        folder = self.repositories.get(f"{kind}/{name}")
        if folder is None:
            self._answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
            return
        verb = rest[0] if rest else "revision"
        revision = rest[1] if len(rest) > 1 else "main"
        path = "/".join(rest[2:])
        if revision not in _REVISIONS:
            self._answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        elif not is_api:
            self._file(folder / path)
        elif verb == "revision":
            siblings = [{"rfilename": each["path"]} for each in _entries(folder)]
            self._json({"id": name, "sha": COMMIT, "private": False, "siblings": siblings})
        elif verb == "tree":
            self._json([each for each in _entries(folder) if each["path"].startswith(path)])
        elif verb == "paths-info":
            wanted = json.loads(self.body)["paths"] if self.body.startswith(b"{") else _form(self)
            self._json([each for each in _entries(folder) if each["path"] in wanted])
        else:
            self._answer(b"{}", 404, {})

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        self._answer(content, 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_blob(content)}"'})

    def _json(self, value: object) -> None:
        self._answer(json.dumps(value).encode(), 200, {"Content-Type": "application/json"})

    def _answer(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _form(handler: _Handler) -> list[str]:
    from urllib.parse import parse_qs

    return parse_qs(handler.body.decode()).get("paths", [])


def _entries(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": str(path.relative_to(folder)),
            "size": path.stat().st_size,
            "oid": _blob(path.read_bytes()),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def reading_hub(repositories: Mapping[str, Path]) -> Iterator[str]:
    """Serve directories, by names such as `models/org/name`; yield the hub's URL."""
    handler = type("Handler", (_Handler,), {"repositories": repositories})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
