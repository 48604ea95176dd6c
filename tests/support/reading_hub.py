"""A hub on loopback that serves directories as models and data sets, by the hub's HTTP API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.json_server import JsonHandler, answering, git_blob

COMMIT = "5" * 40
"""The commit that `main` and `v1` are; other revisions there are none."""
_REVISIONS = ("main", "v1", COMMIT)


class _Handler(JsonHandler):
    repositories: Mapping[str, Path]

    def serve(self) -> None:
        parts = [unquote(each) for each in urlsplit(self.path).path.strip("/").split("/")]
        is_api = parts[0] == "api"
        parts = parts[is_api:]
        kind = parts.pop(0) if parts[0] in ("models", "datasets") else "models"
        name, rest = "/".join(parts[:2]), parts[2:]
        folder = self.repositories.get(f"{kind}/{name}")
        if folder is None:
            self.answer(b"{}", 404, {"X-Error-Code": "RepoNotFound"})
            return
        verb = rest[0] if rest else "revision"
        revision = rest[1] if len(rest) > 1 else "main"
        path = "/".join(rest[2:])
        if revision not in _REVISIONS:
            self.answer(b"{}", 404, {"X-Error-Code": "RevisionNotFound"})
        elif not is_api:
            self._file(folder / path)
        elif verb == "revision":
            siblings = [{"rfilename": each["path"]} for each in _entries(folder)]
            self.answer_json({"id": name, "sha": COMMIT, "private": False, "siblings": siblings})
        elif verb == "tree":
            self.answer_json([each for each in _entries(folder) if each["path"].startswith(path)])
        elif verb == "paths-info":
            is_json = self.body.startswith(b"{")
            asked = json.loads(self.body) if is_json else parse_qs(self.body.decode())
            wanted = asked.get("paths", [])
            self.answer_json([each for each in _entries(folder) if each["path"] in wanted])
        else:
            self.answer(b"{}", 404)

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        self.answer(content, 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{git_blob(content)}"'})


def _entries(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "type": "file",
            "path": str(path.relative_to(folder)),
            "size": path.stat().st_size,
            "oid": git_blob(path.read_bytes()),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


@contextmanager
def reading_hub(repositories: Mapping[str, Path]) -> Iterator[str]:
    """Serve directories, by names such as `models/org/name`; yield the hub's URL."""
    handler = type("Handler", (_Handler,), {"repositories": repositories})
    with answering(handler) as url:
        yield url
