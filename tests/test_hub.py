"""The Hub as the real client sees it, over a small server on loopback that speaks enough of its API."""

import errno
import json
import os
import struct
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from playground import hub
from playground.errors import Cancelled, ModelLoadFailed
from playground.hub import files, reasons
from tests.small_hub import COMMIT, MODEL, Watch, safetensors, small_hub


@pytest.fixture(autouse=True)
def own_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)


@pytest.fixture
def server():
    with small_hub() as running:
        yield running


def fetch(server, watch=None, source="org/model", revision=None):
    return hub.download(source, revision, watch or Watch(), endpoint=server.url)


def failure(server, **kwargs):
    with pytest.raises(ModelLoadFailed) as caught:
        fetch(server, **kwargs)
    return caught.value.message


# --- downloading ---


def test_a_download_brings_what_a_model_needs_and_nothing_else(server, tmp_path):
    watch = Watch()
    folder = fetch(server, watch)

    assert folder.is_relative_to(tmp_path / "cache")
    assert sorted(p.name for p in folder.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert sorted(server.asked) == sorted(p.name for p in folder.iterdir())
    assert (folder / "model.safetensors").read_bytes() == MODEL["model.safetensors"]
    fractions = [report.fraction for report in watch.reports if report.fraction is not None]
    assert {report.stage for report in watch.reports} == {"downloading"}
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert "MB" in watch.reports[-1].detail


def test_progress_is_told_while_bytes_arrive(server):
    server.gate.clear()

    class Half(Watch):
        def report(self, progress):
            super().report(progress)
            if progress.fraction and 0 < progress.fraction < 1:
                server.gate.set()

    watch = Half()
    fetch(server, watch)
    assert any(r.fraction is not None and 0.2 < r.fraction < 0.8 for r in watch.reports)


def test_what_is_downloaded_is_on_disk_then(server):
    assert hub.folder_on_disk("org/model", None) is None
    assert hub.download_bytes("org/model", None, endpoint=server.url) == sum(
        len(MODEL[name])
        for name in (
            "config.json",
            "tokenizer.json",
            "merges.txt",
            "chat_template.jinja",
            "model.safetensors",
        )
    )
    folder = fetch(server)
    assert hub.folder_on_disk("org/model", None) == folder
    assert hub.folder_on_disk("org/model", COMMIT) == folder
    assert hub.folder_on_disk("org/model", "other") is None
    assert hub.download_bytes("org/model", None, endpoint="http://127.0.0.1:1") == 0
    (folder / "merges.txt").unlink()
    assert hub.folder_on_disk("org/model", None) is None
    assert hub.download_bytes("org/model", None, endpoint=server.url) == len(MODEL["merges.txt"])


def test_cancel_stops_a_download_that_stands_still(server, tmp_path):
    server.gate.clear()
    with pytest.raises(Cancelled):
        fetch(server, Watch(patience=3))
    assert hub.folder_on_disk("org/model", None) is None

    # What was fetched is kept, and a later download goes on from there.
    server.gate.set()
    folder = fetch(server)
    assert (folder / "model.safetensors").read_bytes() == MODEL["model.safetensors"]


def test_cancel_between_two_chunks_leaves_no_thread(server):
    server.gate.clear()

    class Leave(Watch):
        def report(self, progress):
            super().report(progress)
            if progress.fraction and progress.fraction > 0.2:
                server.gate.set()
                raise Cancelled("nobody waits")

    before = set(threading.enumerate())
    with pytest.raises(Cancelled):
        fetch(server, Leave())
    names = [t.name for t in set(threading.enumerate()) - before if "process_request" not in t.name]
    assert names == []


# --- what can go wrong ---


@pytest.mark.parametrize(("status", "part"), [(401, "then log in"), (403, "this token's account is not let in")])
def test_gated_says_where_to_accept_and_with_which_token(server, status, part):
    server.file_error = (status, "GatedRepo")
    message = failure(server)
    assert f"accept its licence at {server.url}/org/model" in message
    assert part in message
    assert "`hf auth login` or set HF_TOKEN" in message
    assert server.asked == []


@pytest.mark.parametrize("source", ["no/model", "org/nothing"])
def test_not_found(server, source):
    message = failure(server, source=source)
    assert source in message
    assert "no such model" in message
    assert "private" in message


def test_revision_not_found(server):
    message = failure(server, revision="v9")
    assert "'v9'" in message
    assert "revision" in message


def test_a_source_that_cannot_be_a_repo(server):
    assert "organization/name" in failure(server, source="a/b/c")


def test_too_many_requests_and_a_sick_hub(server):
    server.api_error = (429, "")
    assert "later" in failure(server)
    server.api_error = (503, "")
    assert "503" in failure(server)
    server.api_error, server.file_error = None, (500, "")
    assert "the Hub answers with an error (500)" in failure(server)
    server.file_error = (429, "")
    assert "too many requests" in failure(server)


def test_a_bad_token(server):
    server.api_error = (403, "")
    assert "hf auth login" in failure(server)


def test_no_network():
    with pytest.raises(ModelLoadFailed, match="cannot be reached"):
        hub.download("org/model", None, Watch(), endpoint="http://127.0.0.1:1")


def test_no_network_but_everything_is_there(server):
    folder = fetch(server)
    assert hub.download("org/model", None, Watch(), endpoint="http://127.0.0.1:1") == folder


def test_offline_mode(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in failure(server)


def test_a_repo_with_pickles_only(server):
    del server.files["model.safetensors"]
    del server.files["consolidated.safetensors"]
    assert "safetensors" in failure(server)
    assert server.asked == []


def test_a_full_disk_is_seen_before_the_download(server, monkeypatch):
    usage = files.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    message = failure(server)
    assert "needs 0.2 MB more on the disk" in message
    assert "0.0 MB are free" in message
    assert server.asked == []


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "written"),
        (TimeoutError("timed out"), "too long"),
        (OSError("Consistency check failed"), "Consistency check failed"),
    ],
)
def test_errors_of_the_machine(error, part):
    assert part in reasons.reason("org/model", None, error, "https://hub")


def test_the_size_is_unknown_without_network():
    assert hub.download_bytes("org/model", None, endpoint="http://127.0.0.1:1") is None
    assert hub.download_bytes("a/b/c", None, endpoint="http://127.0.0.1:1") is None


def test_the_size_is_unknown_where_the_hub_refuses(server):
    server.api_error = (401, "")
    assert hub.download_bytes("org/model", None, endpoint=server.url) is None


# --- folders ---


def test_a_local_folder_is_itself(tmp_path):
    assert hub.folder_on_disk(str(tmp_path), None) == tmp_path
    assert hub.folder_on_disk(str(tmp_path / "nothing"), None) is None
    assert hub.download_bytes(str(tmp_path), None) == 0
    assert hub.download(str(tmp_path), None, Watch()) == tmp_path
    with pytest.raises(ModelLoadFailed, match="no folder"):
        hub.download(str(tmp_path / "nothing"), None, Watch())


def cached(tmp_path, names) -> Path:
    repo = tmp_path / "cache/models--org--model"
    folder = repo / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    for name in names:
        (folder / name).write_bytes(safetensors() if name.endswith("safetensors") else b"{}")
    return folder


@pytest.mark.parametrize(
    ("names", "complete"),
    [
        (["config.json", "model.safetensors"], True),
        (["adapter_config.json", "adapter_model.safetensors"], True),
        (["config.json"], False),
        (["model.safetensors"], False),
        (["adapter_config.json"], False),
        ([], False),
    ],
)
def test_a_snapshot_that_another_program_cached(tmp_path, names, complete):
    folder = cached(tmp_path, names)
    assert hub.folder_on_disk("org/model", None) == (folder if complete else None)


def test_a_snapshot_needs_every_shard(tmp_path):
    folder = cached(tmp_path, ["config.json", "a.safetensors"])
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert hub.folder_on_disk("org/model", None) is None
    (folder / "b.safetensors").write_bytes(safetensors())
    assert hub.folder_on_disk("org/model", None) == folder


def test_weights_of_one_file(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(safetensors(1234))
    assert hub.weights_bytes(tmp_path) == 1234


def test_weights_of_shards(tmp_path):
    for name, size in (("a", 10), ("b", 20)):
        (tmp_path / f"{name}.safetensors").write_bytes(safetensors(size))
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert hub.weights_bytes(tmp_path) == 30
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(ModelLoadFailed, match=r"b\.safetensors"):
        hub.check_weights(tmp_path)


def test_weights_of_an_adapter(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(safetensors(12))
    assert hub.weights_bytes(tmp_path) == 12


def header(entries) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def entry(begin, stop):
    return {"dtype": "U8", "shape": [stop - begin], "data_offsets": [begin, stop]}


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (safetensors(100)[:-1], "cut short: 99 of 100 bytes"),
        (safetensors(100) + b"x", "more than its header names"),
        (safetensors(100)[:20], "cut short within its header"),
        (b"", "empty"),
        (b"1234", "not a safetensors"),
        (b"\xff" * 100, "not a safetensors"),
        (header(b"{nonsense"), "broken"),
        (header([]), "broken"),
        (header({"w": 5}), "broken"),
        (header({"w": {"data_offsets": [0]}}), "broken"),
        (header({"w": {"data_offsets": ["0", "1"]}}), "broken"),
        (header({"a": entry(0, 4), "b": entry(2, 6)}) + bytes(6), "overlap"),
        (header({"a": entry(2, 6)}) + bytes(6), "gaps"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
)
def test_broken_weights(tmp_path, data, part):
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelLoadFailed) as caught:
        hub.check_weights(tmp_path)
    assert part in caught.value.message
    assert "model.safetensors" in caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("pytorch_model.bin", "", "pickle"),
        ("config.json", "{}", "no weights"),
        ("model.safetensors.index.json", "{", "broken"),
        ("model.safetensors.index.json", "{}", "broken"),
        ("model.safetensors.index.json", '{"weight_map": {}}', "broken"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 3}}', "broken"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../x.safetensors"}}', "broken"),
    ],
)
def test_folders_without_sound_weights(tmp_path, name, text, part):
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelLoadFailed, match=part):
        hub.weights_bytes(tmp_path)


# --- chat templates ---


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({}, None),
        ({"chat_template.jinja": "{{ a }}"}, "{{ a }}"),
        ({"chat_template.json": '{"chat_template": "{{ b }}"}'}, "{{ b }}"),
        ({"tokenizer_config.json": '{"chat_template": "{{ c }}"}'}, "{{ c }}"),
        ({"tokenizer_config.json": "{}"}, None),
        ({"tokenizer_config.json": "{"}, None),
        ({"tokenizer_config.json": "[]"}, None),
        (
            {"chat_template.jinja": "{{ a }}", "tokenizer_config.json": '{"chat_template": "{{ c }}"}'},
            "{{ a }}",
        ),
        (
            {
                "tokenizer_config.json": json.dumps(
                    {
                        "chat_template": [
                            {"name": "tool_use", "template": "{{ t }}"},
                            {"name": "default", "template": "{{ d }}"},
                        ]
                    }
                )
            },
            "{{ d }}",
        ),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "rag", "template": "{{ r }}"}]}'}, None),
        ({"tokenizer_config.json": '{"chat_template": [3, {}]}'}, None),
    ],
)
def test_template_of(tmp_path, files, template):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert hub.template_of(tmp_path) == template


def test_template_of_a_file_that_is_no_text(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    assert hub.template_of(tmp_path) is None
    assert hub.template_of(tmp_path / "nothing") is None


def test_no_file_of_the_person_was_touched(tmp_path, server):
    fetch(server)
    assert sorted(os.listdir(tmp_path)) == ["cache"]
