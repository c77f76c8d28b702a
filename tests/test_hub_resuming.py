"""Downloads that are cut, given up, or run out of room: the real client, over a small Hub on loopback."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import constants

from playground import hub
from playground.errors import Cancelled, ModelLoadFailed
from playground.hub import files, resuming
from tests.drive import wait_for
from tests.small_hub import COMMIT, MODEL, SmallHub, Watch, safetensors, small_hub

WEIGHTS = MODEL["model.safetensors"]
HALF = len(WEIGHTS) // 2
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
LOAD = """
import sys
from playground import hub
class Watch:
    def report(self, progress):
        pass
hub.download("org/model", None, Watch(), endpoint=sys.argv[1])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[SmallHub]:
    with small_hub() as running:
        yield running


def fetch(server: SmallHub, watch: Watch | None = None) -> Path:
    return hub.download("org/model", None, watch or Watch(), endpoint=server.url)


def partial(cache: Path) -> Path:
    return cache / "models--org--model" / "blobs" / f"{SHA256}.partial"


def keep(cache: Path, data: bytes) -> None:
    partial(cache).parent.mkdir(parents=True)
    partial(cache).write_bytes(data)


def is_whole(folder: Path) -> bool:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == SHA256


def fractions(watch: Watch) -> list[float]:
    return [one.fraction for one in watch.reports if one.fraction is not None]


# Cut


def test_a_dropped_connection_is_gone_on_with_at_once(server: SmallHub) -> None:
    server.num_cuts = 1
    watch = Watch()
    assert is_whole(fetch(server, watch))
    assert server.ranges == ["bytes=0-", f"bytes={HALF}-"]
    assert fractions(watch) == sorted(fractions(watch))


def test_the_next_load_goes_on_where_a_cut_left_off(server: SmallHub, cache: Path) -> None:
    server.num_cuts, server.down_after_cut = 1, True
    with pytest.raises(ModelLoadFailed, match="503"):
        fetch(server)
    assert hub.folder_on_disk("org/model", None) is None
    assert not list(cache.glob("models--org--model/snapshots/*/model.safetensors"))
    assert partial(cache).stat().st_size == HALF

    server.file_error = None
    watch = Watch()
    folder = fetch(server, watch)
    assert is_whole(folder)
    assert server.ranges == ["bytes=0-", f"bytes={HALF}-"]
    assert fractions(watch)[-1] == 1
    assert not partial(cache).exists()
    assert hub.folder_on_disk("org/model", None) == folder


def test_what_is_there_already_is_shown_from_the_start(server: SmallHub, cache: Path) -> None:
    keep(cache, WEIGHTS[:HALF])
    server.gate.clear()

    class Open(Watch):
        def report(self, progress) -> None:
            super().report(progress)
            if progress.fraction:
                server.gate.set()

    watch = Open()
    assert is_whole(fetch(server, watch))
    assert next(fraction for fraction in fractions(watch) if fraction) >= 0.49


def test_a_program_that_was_killed_goes_on_after_its_restart(server: SmallHub, cache: Path) -> None:
    server.gate.clear()
    environ = {**os.environ, "HF_HUB_CACHE": str(cache)}
    program = subprocess.Popen([sys.executable, "-c", LOAD, server.url], env=environ)
    try:
        wait_for(lambda: partial(cache).exists() and partial(cache).stat().st_size == HALF)
    finally:
        program.kill()
        program.wait()
    assert hub.folder_on_disk("org/model", None) is None
    server.gate.set()
    assert is_whole(fetch(server))
    assert server.ranges == ["bytes=0-", f"bytes={HALF}-"]


def test_who_gives_up_a_stalled_download_is_free_and_the_next_goes_on(server: SmallHub, cache: Path) -> None:
    server.gate.clear()

    class GivesUp(Watch):
        def report(self, progress) -> None:
            if partial(cache).exists() and partial(cache).stat().st_size == HALF:
                raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        fetch(server, GivesUp())
    # The server still holds the rest back: the one who waited did not wait for it.
    assert not server.gate.is_set()
    assert hub.folder_on_disk("org/model", None) is None
    server.gate.set()
    assert is_whole(fetch(server))
    assert server.ranges == ["bytes=0-", f"bytes={HALF}-"]


def test_a_server_that_knows_no_ranges_sends_all_again(server: SmallHub, cache: Path) -> None:
    keep(cache, WEIGHTS[:HALF])
    server.knows_ranges = False
    assert is_whole(fetch(server))
    assert server.ranges == [f"bytes={HALF}-"]


@pytest.mark.parametrize("data", [b"?" * HALF, WEIGHTS + b"?"], ids=["other", "longer"])
def test_what_is_not_the_hubs_is_thrown_away(server: SmallHub, cache: Path, data: bytes) -> None:
    keep(cache, data)
    with pytest.raises(ModelLoadFailed, match=r"model\.safetensors came broken.*load it again"):
        fetch(server)
    assert hub.folder_on_disk("org/model", None) is None
    assert is_whole(fetch(server))
    assert server.ranges[-1] == "bytes=0-"


def test_an_answer_that_ends_early_is_told_and_gone_on_with(server: SmallHub) -> None:
    server.most = HALF
    with pytest.raises(ModelLoadFailed, match=rf"ended after {HALF} of {len(WEIGHTS)} bytes; try again"):
        fetch(server)
    assert hub.folder_on_disk("org/model", None) is None
    server.most = len(WEIGHTS)
    assert is_whole(fetch(server))
    assert server.ranges == ["bytes=0-", f"bytes={HALF}-"]


def test_a_load_waits_for_another_program_that_fetches_the_same(server: SmallHub, cache: Path) -> None:
    folder = cache / ".locks" / "models--org--model"
    folder.mkdir(parents=True)
    with FileLock(folder / f"{SHA256}.partial.lock"):
        with pytest.raises(Cancelled):
            fetch(server, Watch(patience=3))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("downloading")]
        assert server.ranges == []
    assert is_whole(fetch(server))


@pytest.mark.parametrize(("held", "least"), [("b.safetensors", 0.3), ("tokenizer.json", 0.7)])
def test_several_files_count_together(
    server: SmallHub, held: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    server.files["tokenizer.json"] = b"?" * 400_000
    del server.files["model.safetensors"]
    server.files["a.safetensors"], server.files["b.safetensors"] = safetensors(100_000), safetensors(300_000)
    server.files["model.safetensors.index.json"] = b'{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}'
    server.held = held
    server.gate.clear()

    class SecondHalf(Watch):
        def report(self, progress) -> None:
            super().report(progress)
            if progress.fraction and least < progress.fraction < 1:
                server.gate.set()

    watch = SecondHalf()
    fetch(server, watch)
    # All that came before, and half of the file that was held back.
    assert server.gate.is_set()
    assert fractions(watch) == sorted(fractions(watch))
    assert fractions(watch)[-1] == 1


# No room


def test_what_is_kept_needs_no_room_again(server: SmallHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = sum(len(MODEL[name]) for name in ("config.json", "tokenizer.json", "merges.txt", "chat_template.jinja"))
    usage = files.shutil.disk_usage("/")._replace(free=len(WEIGHTS) - HALF + rest)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelLoadFailed, match=r"needs 0\.2 MB more on the disk .* and 0\.1 MB are free"):
        fetch(server)
    assert server.asked == []
    keep(cache, WEIGHTS[:HALF])
    assert is_whole(fetch(server))


def test_a_disk_that_runs_full_on_the_way_is_told_as_that(server: SmallHub, cache: Path) -> None:
    keep(cache, b"")
    partial(cache).unlink()
    partial(cache).symlink_to("/dev/full")
    with pytest.raises(ModelLoadFailed, match="the disk is full: make room in"):
        fetch(server)
    assert hub.folder_on_disk("org/model", None) is None
    partial(cache).unlink()
    assert is_whole(fetch(server))


def test_what_is_too_big_for_plain_http_is_left_to_the_client(
    server: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> resuming.Blob | None:
        return resuming.find_blob("org/model", "model.safetensors", COMMIT, server.url, 5)

    assert found() == resuming.Blob(
        "org/model",
        "model.safetensors",
        f"{server.url}/org/model/resolve/{COMMIT}/model.safetensors",
        SHA256,
        len(WEIGHTS),
    )
    monkeypatch.setattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", len(WEIGHTS) - 1)
    assert found() is None
