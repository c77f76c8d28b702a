"""Weights out of a Hub repo so that a cut costs nothing: what has come stays on the disk, and the next try goes on
there, also after the program itself was ended.

Knows the Hub's client and its cache of blobs; refuses to know which files a model needs, and makes no snapshot.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from filelock import Timeout
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, hf_raise_for_status

from playground.errors import ModelLoadFailed
from playground.hub.metering import Meter

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOK_AGAIN_S = 0.25
_ASK_AGAIN_AFTER_S = 1.0
_MAX_FRUITLESS = 5
# One count for all blobs: they come one after the other.
_BAR = 0


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of a repo at one commit, as the cache keeps it: under its hash, whatever its name. `num_bytes` is its
    whole size."""

    source: str
    name: str
    url: str
    etag: str
    num_bytes: int

    @property
    def path(self) -> Path:
        return _repo_folder(self.source) / "blobs" / self.etag

    @property
    def partial(self) -> Path:
        """What has come so far. The client's own names for that change with each try, and it throws them away."""
        return self.path.with_name(f"{self.etag}.partial")

    def num_kept_bytes(self) -> int:
        """How much of it is on this disk."""
        for file in (self.path, self.partial):
            if file.exists():
                return file.stat().st_size
        return 0


def find_blob(source: str, name: str, commit: str, endpoint: str | None, timeout_s: float) -> Blob | None:
    """Asks the Hub for one file's hash and size; None where it does not tell both, or the file is too big for plain
    HTTP: then it is the client's to fetch. Raises what the client raises."""
    url = hf_hub_url(source, name, revision=commit, endpoint=endpoint)
    found = get_hf_file_metadata(url, timeout=timeout_s, endpoint=endpoint)
    if found.etag is None or found.size is None or found.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        return None
    return Blob(source, name, url, found.etag, found.size)


def fetch_blob(blob: Blob, meter: Meter) -> None:
    """Fetches what is missing of a blob into the cache, over plain HTTP, since what came over Xet cannot be gone on
    with; blocks. What `meter` raises ends it and loses nothing. Raises what the client raises, and `ModelLoadFailed`
    where what came is not what the Hub has; then that is gone."""
    blob.path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_with(blob, meter):
        meter.add(_BAR, blob.num_kept_bytes())
        if not blob.path.exists():
            _go_on(blob, meter)
    meter.settle()


def _go_on(blob: Blob, meter: Meter) -> None:
    with blob.partial.open("ab") as file:
        _pull_all(blob, file, meter)
    if not _is_what_the_hub_has(blob):
        blob.partial.unlink()
        raise ModelLoadFailed(
            f"{blob.source}: {blob.name} came broken: it is not what the Hub names. It was thrown away: load it again"
        )
    blob.partial.replace(blob.path)


def _pull_all(blob: Blob, file: BinaryIO, meter: Meter) -> None:
    """Asks again where the connection breaks, until several times nothing has come."""
    num_fruitless = 0
    while (num_before := file.tell()) < blob.num_bytes:
        try:
            _pull(blob, file, meter)
        except httpx2.TransportError:
            num_fruitless = num_fruitless + 1 if file.tell() <= num_before else 0
            if num_fruitless == _MAX_FRUITLESS:
                raise
            meter.pause(_ASK_AGAIN_AFTER_S)
        else:
            # Not an error for HTTP: an answer may be of any length.
            if file.tell() < blob.num_bytes:
                raise OSError(f"{blob.name} ended after {file.tell()} of {blob.num_bytes} bytes")


def _pull(blob: Blob, file: BinaryIO, meter: Meter) -> None:
    num_kept = file.tell()
    # A file compressed on its way could not be gone on with in the middle.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={num_kept}-"}
    with get_session().stream("GET", blob.url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            meter.add(_BAR, -num_kept)
            file.truncate(0)
        for chunk in response.iter_bytes():
            meter.add(_BAR, len(chunk))
            file.write(chunk)


def _is_what_the_hub_has(blob: Blob) -> bool:
    """By its SHA-256, which the Hub names large files by; by its size where it names none."""
    if not _SHA256.fullmatch(blob.etag):
        return blob.partial.stat().st_size == blob.num_bytes
    with blob.partial.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == blob.etag


@contextmanager
def _alone_with(blob: Blob, meter: Meter) -> Generator[None, None, None]:
    """Waits until nobody else writes this blob, be it another program or a load just given up; `meter` may end that."""
    folder = Path(constants.HF_HUB_CACHE) / ".locks" / _repo_folder(blob.source).name
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        waiting = True
        while waiting:
            meter.require_wanted()
            with suppress(Timeout):
                held.enter_context(WeakFileLock(folder / f"{blob.etag}.partial.lock", timeout=_LOOK_AGAIN_S))
                waiting = False
        yield


def _repo_folder(source: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=source, repo_type="model")
