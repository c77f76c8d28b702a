"""A saved merge onto a Hub: the real client against a small server on loopback that takes repos, files and commits."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

from playground import hub
from playground.errors import Cancelled, InvalidRequest, SaveFailed
from playground.types import Progress
from tests.drive import wait_for
from tests.small_hub import COMMIT, Handler, SmallHub, Watch, safetensors

TOKEN = "hf_secretSecretSecret"


class Store(SmallHub):
    """Takes one repo, me/merged. `taken` are files by name once a commit has named them; `fault` breaks a step off."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = PushHandler
        self.made: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.taken: dict[str, bytes] = {}
        self.private = True
        self.tokens: set[str | None] = set()
        self.fault: tuple[str, int] | None = None


class PushHandler(Handler):
    server: Store  # type: ignore[assignment]

    def do_GET(self):
        self.server.tokens.add(self.headers["Authorization"])
        siblings = [{"rfilename": name} for name in (".gitattributes", *self.server.taken)]
        self.send(json.dumps({"id": "me/merged", "private": self.server.private, "siblings": siblings}).encode())

    def do_POST(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.fault and path.startswith(self.server.fault[0]):
            self.refuse(self.server.fault[1], "")
        elif path == "/api/repos/create":
            self.make(json.loads(body))
        elif path == "/api/validate-yaml":
            self.send(b'{"errors": [], "warnings": []}')
        elif path.startswith("/api/models/me/merged/preupload/"):
            files = json.loads(body)["files"]
            told = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            self.send(json.dumps({"files": told}).encode())
        elif path == "/me/merged.git/info/lfs/objects/batch":
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.url}/blobs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.send(json.dumps({"transfer": "basic", "objects": objects}).encode())
        elif path == "/api/models/me/merged/commit/main":
            self.commit([json.loads(line) for line in body.splitlines()])
        else:
            self.refuse(404, "RepoNotFound")

    def do_PUT(self):
        self.server.asked.append("put")
        length, data = int(self.headers["Content-Length"]), b""
        while len(data) < length and (piece := self.rfile.read1(65536)):
            data += piece
            if len(data) > length // 2:
                self.server.gate.wait(20)
        self.server.blobs[urlsplit(self.path).path.rpartition("/")[2]] = data
        self.send(b"")

    def make(self, asked):
        if self.server.made:
            self.refuse(409, "")
            return
        self.server.made.append(asked)
        self.send(json.dumps({"url": f"{self.server.url}/me/merged"}).encode())

    def commit(self, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.taken[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.taken[value["path"]] = self.server.blobs[value["oid"]]
        self.send(json.dumps({"commitUrl": f"{self.server.url}/c/{COMMIT}", "commitOid": COMMIT}).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    store = Store()
    thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield store
    store.gate.set()
    store.shutdown()
    store.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A merge as it is saved, and what must not go along."""
    path = tmp_path / "merged"
    path.mkdir()
    (path / "model.safetensors").write_bytes(safetensors(3_000_000))
    (path / "config.json").write_text("{}")
    (path / "README.md").write_text(hub.written({"tags": ["lora", hub.MARK]}, "# A merge\n"))
    (path / "notes.py").write_text("print()")
    (path / "more").mkdir()
    (path / "more/secret.json").write_text("{}")
    return path


def push(server: SmallHub, folder: Path, watch: Watch | None = None, token: str = TOKEN, **settings: Any) -> str:
    return hub.push(folder, "me/merged", token, watch or Watch(), endpoint=server.url, **settings)


def test_a_merge_arrives_whole_in_a_private_repo(server: Store, folder: Path) -> None:
    watch = Watch()
    assert push(server, folder, watch) == f"{server.url}/me/merged"
    assert server.taken.keys() == {"README.md", "config.json", "model.safetensors"}
    assert all(data == (folder / name).read_bytes() for name, data in server.taken.items())
    [made] = server.made
    assert made["visibility"] == "private"
    assert server.tokens == {f"Bearer {TOKEN}"}
    assert {heard.stage for heard in watch.reports} == {"uploading"}
    assert watch.reports[-1].fraction == 1


def test_a_repo_is_public_where_that_is_asked(server: Store, folder: Path) -> None:
    push(server, folder, private=False)
    [made] = server.made
    assert made["visibility"] == "public"


class Leave(Watch):
    """Leaves when half of it is under way."""

    def report(self, progress: Progress) -> None:
        super().report(progress)
        if progress.fraction and progress.fraction > 0.3:
            raise Cancelled("nobody waits")


def test_a_cancelled_push_leaves_an_empty_repo_that_the_next_one_fills(server: Store, folder: Path) -> None:
    server.gate.clear()
    with pytest.raises(Cancelled):
        push(server, folder, Leave())
    server.gate.set()
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("uploading")])
    assert server.taken == {}
    push(server, folder)
    assert "model.safetensors" in server.taken


def test_a_repo_that_holds_files_is_not_written_over(server: Store, folder: Path) -> None:
    server.made.append({})
    server.taken["model.safetensors"] = b"mine"
    with pytest.raises(SaveFailed, match="holds files"):
        push(server, folder)
    assert server.taken == {"model.safetensors": b"mine"}


def test_an_empty_public_repo_is_no_place_for_a_private_merge(server: Store, folder: Path) -> None:
    server.made.append({})
    server.private = False
    with pytest.raises(SaveFailed, match="is public"):
        push(server, folder)


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (("/api/repos/create", 401), "refuses this token"),
        (("/api/repos/create", 403), "settings/tokens"),
        (("/api/models/me/merged/commit", 500), "500"),
        (("/api/models/me/merged/preupload", 429), "later"),
    ],
)
def test_what_goes_wrong_is_told_without_the_token(
    server: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[str, int], part: str
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    server.fault = fault
    with pytest.raises(SaveFailed, match=part) as caught:
        push(server, folder)
    assert TOKEN not in caught.value.message
    assert caught.value.__suppress_context__
    assert server.taken == {}


def test_a_hub_that_cannot_be_reached(folder: Path) -> None:
    with pytest.raises(SaveFailed, match="cannot be reached") as caught:
        hub.push(folder, "me/merged", TOKEN, Watch(), endpoint="http://127.0.0.1:1")
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize("token", ["", "hf_a b", "hf_secret\n", "hf_\x00", "hf_ü", "x" * 501])
def test_a_token_that_cannot_be_one_is_refused_and_not_shown(server: Store, folder: Path, token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        push(server, folder, token=token)
    assert caught.value.param == "token"
    assert not token or token not in caught.value.message
    assert server.tokens == set()


def test_the_token_is_in_no_log(server: Store, folder: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG):
        push(server, folder)
    assert TOKEN not in caplog.text
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    assert kept == []


@pytest.mark.parametrize("readme", [None, "# Mine\n", "---\ntags: [mine]\n---\n", "---\n[\n---\n"])
def test_only_what_was_saved_here_is_pushed(server: Store, folder: Path, readme: str | None) -> None:
    (folder / "README.md").unlink()
    if readme is not None:
        (folder / "README.md").write_text(readme)
    with pytest.raises(InvalidRequest, match="only a merge that was saved here"):
        push(server, folder)
    assert server.made == []


@pytest.mark.parametrize("repo", ["a/b/c", "merged", "me/", "me/..", "me/a b", "me/x?y"])
def test_a_name_that_no_repo_can_have(server: Store, folder: Path, repo: str) -> None:
    with pytest.raises((InvalidRequest, SaveFailed), match=re.escape(repr(repo))):
        hub.push(folder, repo, TOKEN, Watch(), endpoint=server.url)
    assert server.made == []
