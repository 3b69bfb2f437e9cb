"""The Hub's protocol as huggingface_hub speaks it (git-like commits, LFS, resolve), over HTTP, in memory, with faults to order."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub
import pytest
import transformers
from huggingface_hub.utils.sha import git_hash


TOKEN = "hf_" + "secret" * 6
# What the Hub's default .gitattributes sends to LFS, as far as it matters here.
LFS_SUFFIXES = (".safetensors", ".png", ".wav")


@dataclass
class Repository:
    private: bool = False
    # Files of every commit, by their path: the content and whether it is in LFS.
    commits: dict[str, dict[str, tuple[bytes, bool]]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, tuple[bytes, bool]]) -> str:
        oid = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def files(self, revision: str) -> dict[str, tuple[bytes, bool]]:
        return self.commits[self.branches.get(revision, revision)]


@dataclass
class Fault:
    method: str
    pattern: str
    # A status code; "cut" closes the connection before the request is served, "lose" after it.
    kind: int | str
    times: int


class LocalHub:
    def __init__(self):
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.is_token_expired = False
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return {path: content for path, (content, _) in self.repositories[repo_id].files(revision).items()}

    def fail(self, method: str, pattern: str, kind: int | str, times: int = 1) -> None:
        """Lets the next requests fail whose method and path match."""
        self.faults.append(Fault(method, pattern, kind, times))

    def count(self, method: str, pattern: str) -> int:
        """Requests so far."""
        return sum(m == method and re.search(pattern, path) is not None for m, path in self.requests)

    def take_fault(self, method: str, path: str) -> int | str | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.pattern, path):
                fault.times -= 1
                return fault.kind
        return None

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *args) -> None:
        pass

    def _serve(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path))
        self.query = parse_qs(urlsplit(self.path).query)
        fault = self.hub.take_fault(self.command, path)
        if fault == "cut":
            # In the middle of what the client sends.
            self.rfile.read(min(64, int(self.headers.get("Content-Length", 0))))
            self.close_connection = True
            self.connection.close()
            return
        self.body = self._read_body()
        self.is_lost = fault == "lose"
        if isinstance(fault, int):
            self._reply(fault, {"error": "out of order"})
        elif self.hub.is_token_expired and "Authorization" in self.headers:
            message = 'User Access Token "tests" is expired'
            self._reply(401, {"error": message}, {"X-Error-Message": message})
        else:
            self._route(path)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, status: int, content: object = None, headers: dict[str, str] | None = None) -> None:
        if getattr(self, "is_lost", False):
            self.close_connection = True
            self.connection.close()
            return
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _route(self, path: str) -> None:
        routes = (
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", self._validate),
            ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>.+)", self._preupload),
            ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>.+)", self._commit),
            ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>.+)", self._branch),
            ("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            ("PUT", r"/objects/(?P<oid>\w+)", self._put),
            ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?", self._info),
            ("GET", r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<folder>.*))?", self._tree),
            ("GET", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self._resolve),
        )
        for method, pattern, serve in sorted(routes, key=lambda route: -len(route[1])):
            match = re.fullmatch(pattern, path)
            if match and method == self.command.replace("HEAD", "GET"):
                groups = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                return self._serve_repository(serve, groups)
        self._reply(404, {"error": f"the local Hub does not know {self.command} {path}"})

    def _serve_repository(self, serve, groups: dict[str, str]) -> None:
        if self.command in ("POST", "PUT") and "oid" not in groups and not self._is_authorized():
            return self._reply(401, {"error": "Invalid username or password."})
        if "repo" not in groups:
            return serve(**groups)
        repository = self.hub.repositories.get(groups["repo"])
        if repository is None or (repository.private and not self._is_authorized()):
            return self._reply(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        revision = groups.get("revision", "main")
        if serve != self._branch and revision not in repository.branches and revision not in repository.commits:
            return self._reply(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        serve(**{"revision": "main", **groups, "repo": repository, "name": groups["repo"]})

    def _is_authorized(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization'] or 'me'}/{wanted['name']}"
        answer = {"url": f"{self.hub.url}/{name}", "name": name}
        if name in self.hub.repositories:
            return self._reply(409, {"error": "You already created this model repo", **answer})
        is_private = wanted.get("visibility") == "private" or wanted.get("private", False)
        self.hub.repositories[name] = Repository(private=is_private)
        self.hub.repositories[name].commit("main", {".gitattributes": (b"*.safetensors filter=lfs\n", False)})
        self._reply(200, answer)

    def _validate(self) -> None:
        self._reply(200, {"errors": [], "warnings": []})

    def _branch(self, repo: Repository, name: str, revision: str) -> None:
        if revision in repo.branches:
            return self._reply(409, {"error": "Reference already exists"})
        repo.branches[revision] = repo.branches["main"]
        self._reply(200, {})

    def _preupload(self, repo: Repository, name: str, revision: str) -> None:
        wanted, there = json.loads(self.body), repo.files(revision)
        ignored = wanted.get("gitIgnore", "").split()
        files = []
        for item in wanted["files"]:
            path, known = item["path"], there.get(item["path"])
            files.append(
                {
                    "path": path,
                    "uploadMode": "lfs" if path.endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": path in ignored,
                    "oid": None if known is None else _oid(*known),
                }
            )
        self._reply(200, {"files": files})

    def _batch(self, repo: Repository, name: str, revision: str) -> None:
        objects = []
        for item in json.loads(self.body)["objects"]:
            if item["oid"] not in self.hub.objects:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/objects/{item['oid']}"}}
            objects.append(item)
        self._reply(200, {"transfer": "basic", "objects": objects})

    def _put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._reply(400, {"error": "the content is not what it says"})
        self.hub.objects[oid] = self.body
        self._reply(200)

    def _commit(self, repo: Repository, name: str, revision: str) -> None:
        files = dict(repo.files(revision))
        for line in self.body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif operation["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self._reply(400, {"error": f"{value['path']} was not uploaded"})
                files[value["path"]] = (self.hub.objects[value["oid"]], True)
        is_pull_request = "create_pr" in self.query
        number = sum(branch.startswith("refs/pr/") for branch in repo.branches) + 1
        oid = repo.commit(f"refs/pr/{number}" if is_pull_request else revision, files)
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"}
        if is_pull_request:
            answer["pullRequestUrl"] = f"{self.hub.url}/{name}/discussions/{number}"
        self._reply(200, answer)

    def _info(self, repo: Repository, name: str, revision: str) -> None:
        siblings = [{"rfilename": path} for path in repo.files(revision)]
        sha = repo.branches.get(revision, revision)
        self._reply(200, {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []})

    def _tree(self, repo: Repository, name: str, revision: str, folder: str = "") -> None:
        entries = []
        for path, (content, is_lfs) in repo.files(revision).items():
            if folder and not path.startswith(f"{folder}/"):
                continue
            entry = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
            if is_lfs:
                entry["lfs"] = {"oid": _oid(content, True), "size": len(content), "pointerSize": 132}
            entries.append(entry)
        if folder and not entries:
            return self._reply(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        self._reply(200, entries)

    def _resolve(self, repo: Repository, name: str, revision: str, file: str) -> None:
        headers = {"X-Repo-Commit": repo.branches.get(revision, revision)}
        found = repo.files(revision).get(file)
        if found is None:
            return self._reply(404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"})
        content, is_lfs = found
        headers["ETag"] = f'"{_oid(*found)}"'
        if is_lfs:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
        self._reply(200, content, headers)


def _oid(content: bytes, is_lfs: bool) -> str:
    return hashlib.sha256(content).hexdigest() if is_lfs else git_hash(content)


@pytest.fixture
def local_hub(monkeypatch, tmp_path):
    """A running Hub, which huggingface_hub and transformers take for the real one, and a token for it."""
    constants = huggingface_hub.constants
    with LocalHub().running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        # Xet is another protocol; without it huggingface_hub falls back on LFS.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        # Retries do not wait.
        monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
        yield hub


def environment(hub: LocalHub, folder) -> dict[str, str]:
    """The same for a process of its own."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder),
        "HF_TOKEN": TOKEN,
    }
