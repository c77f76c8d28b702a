"""How big downloads would be, asked of the Hub behind the back of whoever lists the models.

Knows questions and answers; waits for nobody.
"""

from __future__ import annotations

import queue
import threading

from playground.hub.files import download_bytes

Repo = tuple[str, str | None]


class DownloadSizes:
    """Remembers what the Hub said. One thread asks; it starts with the first question."""

    def __init__(self) -> None:
        self._known: dict[Repo, int | None] = {}
        self._questions: queue.SimpleQueue[Repo] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def of(self, source: str, revision: str | None) -> int | None:
        """Bytes to fetch, at once from memory; None while, or where, the Hub does not tell."""
        repo = (source, revision)
        with self._starting:
            if repo not in self._known:
                self._known[repo] = None
                self._questions.put(repo)
            if self._thread is None:
                self._thread = threading.Thread(target=self._ask, name="download sizes", daemon=True)
                self._thread.start()
            return self._known[repo]

    def _ask(self) -> None:
        while True:
            source, revision = repo = self._questions.get()
            num_bytes = download_bytes(source, revision)
            with self._starting:
                self._known[repo] = num_bytes
