"""A hub on loopback that speaks as much of the Hugging Face hub's HTTP API as the project needs.

Models have branches of commits; large files go through Git LFS's batch API, small ones into the
commit itself, as on the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.json_server import JsonHandler, answering, git_blob

TOKEN = "hf_of_the_tests"
_LFS_FROM = 100_000
"""Bytes from which on a file goes through LFS; on the hub it is 10 MB."""


@dataclass
class HubModel:
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, files: Mapping[str, bytes]) -> str:
        text = f"{len(self.commits)}{branch}{sorted(files)}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    def sha(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)


@dataclass
class Hub:
    """The hub's state. `before` may answer a request with a status in the hub's stead."""

    url: str = ""
    models: dict[str, HubModel] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], int | None] = lambda method, path: None

    def files(self, model: str, revision: str = "main") -> dict[str, bytes]:
        found = self.models[model]
        return found.commits[found.sha(revision) or ""]

    def sent(self) -> list[str]:
        return [path for method, path in self.requests if method == "PUT"]


class _Error(Exception):
    def __init__(self, status: int, code: str = "") -> None:
        self.status, self.code = status, code


class _Handler(JsonHandler):
    hub: Hub

    def serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            status = self.hub.before(self.command, path)
            self.hub.requests.append((self.command, path))
            if status is not None:
                raise _Error(status)
            self._route(path)
        except _Error as error:
            self.answer(b"{}", error.status, {"X-Error-Code": error.code} if error.code else {})

    @property
    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _require_writer(self) -> None:
        if "Authorization" not in self.headers:
            raise _Error(401)
        if not self._may_write:
            raise _Error(403)

    def _model(self, name: str) -> HubModel:
        found = self.hub.models.get(name)
        if found is None or (found.private and not self._may_write):
            raise _Error(404 if self._may_write else 401, "RepoNotFound")
        return found

    def _files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        sha = self._model(name).sha(revision)
        if sha is None:
            raise _Error(404, "RevisionNotFound")
        return sha, self._model(name).commits[sha]

    def _route(self, path: str) -> None:
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            self._require_writer()
            self._create(json.loads(self.body))
        elif path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif parts[0] == "lfs":
            self._require_stored(parts[1])
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._require_writer()
            self._batch(json.loads(self.body))
        elif parts[:2] == ["api", "models"]:
            self._api("/".join(parts[2:4]), parts[4] if len(parts) > 4 else "", parts[5:])
        elif parts[2:3] == ["resolve"]:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            raise _Error(404)

    def _create(self, wanted: Mapping[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        answer = {"url": f"{self.hub.url}/{name}"}
        if name in self.hub.models:
            self.answer_json(answer, 409)
            return
        made = self.hub.models[name] = HubModel(wanted.get("visibility") == "private")
        made.commit("main", {".gitattributes": b"*.bin filter=lfs\n"})
        self.answer_json(answer)

    def _api(self, name: str, verb: str, rest: list[str]) -> None:
        revision = "/".join(rest) or "main"
        if verb in ("", "revision"):
            sha, files = self._files(name, revision)
            siblings = [{"rfilename": path} for path in files]
            private = self._model(name).private
            self.answer_json({"id": name, "sha": sha, "private": private, "siblings": siblings})
        elif verb == "paths-info":
            _, files = self._files(name, revision)
            wanted = parse_qs(self.body.decode())["paths"]
            self.answer_json([_described(path, files[path]) for path in wanted if path in files])
        else:
            self._require_writer()
            model = self._model(name)
            if verb == "branch":
                if revision in model.branches:
                    raise _Error(409)
                model.commit(revision, self.hub.files(name))
                self.answer_json({})
            elif verb == "preupload":
                listed = json.loads(self.body)["files"]
                self.answer_json({"files": [_mode(file) for file in listed]})
            elif verb == "commit":
                self._commit(name, model, revision)

    def _batch(self, wanted: Mapping[str, Any]) -> None:
        objects = []
        for each in wanted["objects"]:
            entry = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.stored:
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{each['oid']}"}}
            objects.append(entry)
        self.answer_json({"transfer": "basic", "objects": objects})

    def _require_stored(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Error(400)
        self.hub.stored[oid] = self.body
        self.answer_json({})

    def _commit(self, name: str, model: HubModel, branch: str) -> None:
        files = dict(self.hub.files(name, branch))
        for line in self.body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "header" and value.get("parentCommit") not in (None, model.sha(branch)):
                raise _Error(412)
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if key == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            if key == "deletedFile":
                del files[value["path"]]
        sha = model.commit(branch, files)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self.answer_json({"commitUrl": url, "commitOid": sha})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        sha, files = self._files(name, revision)
        if path not in files:
            raise _Error(404, "EntryNotFound")
        described = _described(path, files[path])
        digest = described["lfs"]["oid"] if "lfs" in described else described["oid"]
        self.answer(files[path], 200, {"X-Repo-Commit": sha, "ETag": f'"{digest}"'})


def _described(path: str, content: bytes) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(content),
        "oid": git_blob(content),
    }
    if len(content) >= _LFS_FROM:
        digest = hashlib.sha256(content).hexdigest()
        described["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return described


def _mode(file: Mapping[str, Any]) -> dict[str, Any]:
    mode = "lfs" if file["size"] >= _LFS_FROM else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run an empty hub."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with answering(handler) as hub.url:
        yield hub
