"""How big downloads would be and what they would take in memory, asked of the Hub behind the back of whoever lists the
models.

Knows questions and answers; waits for nobody.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass

from huggingface_hub import HfApi
from huggingface_hub.errors import SafetensorsParsingError

from playground.hub.files import ASK_TIMEOUT_S, CLIENT_ERRORS, download_bytes, weights_among
from playground.hub.tensor_files import Tensor

Repo = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class _Told:
    """What the Hub said of a repo, None where it did not: bytes to fetch, and the tensors in its weights."""

    num_bytes: int | None = None
    tensors: tuple[Tensor, ...] | None = None


class DownloadSizes:
    """Remembers what the Hub said. One thread asks; it starts with the first question."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._known: dict[Repo, _Told] = {}
        self._questions: queue.SimpleQueue[Repo] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def of(self, source: str, revision: str | None) -> int | None:
        """Bytes to fetch, at once from memory; None while, or where, the Hub does not tell."""
        return self._told((source, revision)).num_bytes

    def tensors(self, source: str, revision: str | None) -> tuple[Tensor, ...] | None:
        """The tensors that would be fetched, likewise."""
        return self._told((source, revision)).tensors

    def _told(self, repo: Repo) -> _Told:
        with self._starting:
            if repo not in self._known:
                self._known[repo] = _Told()
                self._questions.put(repo)
            if self._thread is None:
                self._thread = threading.Thread(target=self._ask, name="download sizes", daemon=True)
                self._thread.start()
            return self._known[repo]

    def _ask(self) -> None:
        while True:
            source, revision = repo = self._questions.get()
            num_bytes = download_bytes(source, revision, endpoint=self._endpoint)
            self._learn(repo, _Told(num_bytes))
            if num_bytes is not None:
                self._learn(repo, _Told(num_bytes, _tensors_there(source, revision, self._endpoint)))

    def _learn(self, repo: Repo, told: _Told) -> None:
        with self._starting:
            self._known[repo] = told


def _tensors_there(source: str, revision: str | None, endpoint: str | None) -> tuple[Tensor, ...] | None:
    """What the headers of a repo's weights name, a short read of each file."""
    api = HfApi(endpoint=endpoint)
    try:
        info = api.model_info(source, revision=revision, timeout=ASK_TIMEOUT_S)
        headers = [
            api.parse_safetensors_file_metadata(source, name, revision=info.sha, timeout=ASK_TIMEOUT_S)
            for name in weights_among([file.rfilename for file in info.siblings or ()])
        ]
    except (*CLIENT_ERRORS, SafetensorsParsingError):
        return None
    return tuple(
        Tensor(name, one.dtype, tuple(one.shape), one.data_offsets[1] - one.data_offsets[0])
        for header in headers
        for name, one in header.tensors.items()
    )
