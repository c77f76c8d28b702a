"""Programs that are measured, each in a process of its own, stopped by the system while another has its turn.

Knows processes and how they are talked to: a worker of this project takes one order a line and answers it with a line.
Knows nothing of what is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class NotMeasured(Exception):
    """Why something could not be measured, for whoever reads the table."""


class Contestant:
    """A process, with all that it starts. `environ` is added to this process's own."""

    def __init__(self, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                cwd=ROOT,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """The process runs during the block, and only then once the first block is over."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def over(self) -> NotMeasured:
        """That the process ended by itself, and what it wrote last."""
        last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
        return NotMeasured(f"it ended with {self._process.wait()}: {last}")

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """Ends it."""
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
            self._process.communicate()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _end_with_parent() -> None:
    """A process that is stopped would outlive this one, with all that it has in memory: 1 is PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Worker(Contestant):
    """A module under `bench.peers`, run by `python`."""

    def __init__(
        self,
        module: str,
        args: Sequence[str],
        log: Path,
        environ: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        super().__init__([python, "-m", f"bench.peers.{module}", *args], log, environ)

    def ask(self, order: str, **settings: Any) -> Any:
        """Has an order carried out; raises `NotMeasured` with what went wrong."""
        assert self._process.stdin
        assert self._process.stdout
        with self.awake():
            try:
                self._process.stdin.write(json.dumps([order, settings]).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except BrokenPipeError:
                line = b""
        if not line:
            raise self.over()
        answer = json.loads(line)
        if "error" in answer:
            raise NotMeasured(answer["error"])
        return answer["found"]
