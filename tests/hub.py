"""A stand-in for the hub: the endpoints that huggingface_hub uses, on this machine, over HTTP.

What is uploaded is kept as bytes in memory and served from there; nothing of ours is replaced.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

USER, TOKEN, READER = "jane", "hf_write", "hf_read"


@dataclass
class Repository:
    """A repository's commits, the last one last, each with all of its files."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, message: str, changes: dict[str, bytes]) -> str:
        files = {**self.commits.get(self.branches.get(branch, ""), {}), **changes}
        name = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[name] = files
        self.messages.append(message)
        self.branches[branch] = name
        return name

    def at(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None


class Hub(ThreadingHTTPServer):
    """The server, and what it holds."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo]
        return repository.commits[repository.branches[branch]]

    def put(self, repo: str, files: dict[str, bytes], *, private: bool = False) -> str:
        repository = self.repositories.setdefault(repo, Repository(private))
        return repository.commit("main", "put", files)


@contextmanager
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif self._token() != TOKEN:
            self._json(401 if self._token() is None else 403, {"error": "Invalid token: no write"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            self._preupload(match[1], json.loads(body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(match[1], match[2], body)
        else:
            self._json(404, {"error": f"no endpoint {path}"})

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)(?:/resolve/([^/]+)/(.+))?", path)
        repository = self.server.repositories.get(match[1]) if match else None
        if match is None or repository is None or (repository.private and self._token() is None):
            self._json(401, {"error": "Repository not found"}, code="RepoNotFound")
        elif match[3] is None:
            self._json(200, self._info(match[1], repository))
        elif (commit := repository.at(match[2])) is None:
            self._json(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        elif match[3] not in repository.commits[commit]:
            self._json(404, {"error": "Entry not found"}, code="EntryNotFound", commit=commit)
        else:
            self._send(200, repository.commits[commit][match[3]], commit=commit)

    def _info(self, name: str, repository: Repository) -> dict[str, Any]:
        files = self.server.files(name) if repository.commits else {}
        card = _head(files.get("README.md", b"").decode())
        return {
            "_id": "1",
            "id": name,
            "modelId": name,
            "private": repository.private,
            "tags": [],
            "cardData": yaml.safe_load(card) if card else None,
            "sha": repository.branches.get("main"),
            "siblings": [{"rfilename": file} for file in files],
        }

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        known = name in self.server.repositories
        if not known:
            private = asked.get("private") or asked.get("visibility") == "private"
            self.server.repositories[name] = Repository(bool(private))
        url = f"{self.server.url}/{name}"
        self._json(409 if known else 200, {"url": url, "name": name, "error": "You already own it"})

    def _preupload(self, repo: str, asked: dict[str, Any]) -> None:
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
            for file in asked["files"]
        ]
        self._json(200, {"files": files})

    def _commit(self, repo: str, branch: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        changes = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        commit = self.server.repositories[repo].commit(branch, header["summary"], changes)
        url = f"{self.server.url}/{repo}/commit/{commit}"
        self._json(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _validate(self, content: str) -> None:
        try:
            parsed = yaml.safe_load(_head(content) or "")
            assert isinstance(parsed, dict), "no metadata"
            self._json(200, {"errors": [], "warnings": []})
        except (yaml.YAMLError, AssertionError) as error:
            self._json(400, {"errors": [{"message": str(error)}], "warnings": []})

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _chunks(self) -> bytes:
        """A body without a length."""
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, status: int, answer: Any, **known: str) -> None:
        self._send(status, json.dumps(answer).encode(), **known)

    def _send(self, status: int, body: bytes, *, code: str = "", commit: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        if code:
            self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _head(content: str) -> str | None:
    match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    return match[1] if match else None
