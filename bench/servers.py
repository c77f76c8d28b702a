"""Servers that are measured through HTTP: this program as `app.py` starts it, and `transformers serve`.

Knows their commands and how answers are asked for, several at once; nothing of what is measured.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from bench.contestants import Contestant, NotMeasured
from tests.drive import free_port

PATIENCE_S = 600.0
LOOPBACK = "127.0.0.1"


class Server(Contestant):
    """A server on loopback, up and asleep."""

    def __init__(
        self, command: Sequence[str], port: int, health: str, log: Path, environ: dict[str, str] | None = None
    ) -> None:
        super().__init__(command, log, environ)
        self._url = f"http://{LOOPBACK}:{port}"
        with self.awake():
            self._wait_for(health)

    def seconds(self, asked: Sequence[tuple[str, str]], num_answer: int) -> float:
        """How long it takes until all are answered that are asked at once, each a model and a prompt."""
        with self.awake(), ThreadPoolExecutor(len(asked)) as people:
            began_at = time.perf_counter()
            usages = list(people.map(lambda one: self._complete(one[0], one[1], num_answer), asked))
            seconds = time.perf_counter() - began_at
        if any(usage["completion_tokens"] != num_answer for usage in usages):
            raise NotMeasured(f"not all answers had {num_answer} tokens: {usages}")
        return seconds

    def memory_mb(self) -> float:
        """What the process and all that it started have in memory, mapped files with it."""
        process = psutil.Process(self.pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e6

    def post(self, path: str, body: Any) -> Any:
        """A JSON answer; raises `NotMeasured` with the server's words where it refuses."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise NotMeasured(f"{path} answered {error.code}: {error.read().decode()[:300]}") from None

    def _complete(self, model: str, prompt: str, num_answer: int) -> dict[str, int]:
        body = {"model": model, "prompt": prompt, "max_tokens": num_answer, "temperature": 0}
        return self.post("/v1/completions", body)["usage"]

    def _wait_for(self, health: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._is_up(health):
            if self.is_over or time.monotonic() > deadline:
                raise self.over()
            time.sleep(0.1)

    def _is_up(self, health: str) -> bool:
        try:
            with urllib.request.urlopen(self._url + health, timeout=PATIENCE_S) as answer:
                return answer.status == 200
        except OSError:
            return False


def own_server(catalog: Path, home: Path, log: Path) -> Server:
    """This program as it comes."""
    port = free_port()
    options = ["--models", str(catalog), "--home", str(home), "--port", str(port), "--host", LOOPBACK]
    return Server([sys.executable, "app.py", *options], port, "/healthz", log, {"PLAYGROUND_KERNELS": "on"})


def wait_for_kernels(server: Server, model: str) -> None:
    """Returns once `model` is answered by the kernels, which are compiled behind the first answers."""
    body = {"model": model, "messages": [{"role": "user", "content": "A"}], "max_tokens": 2, "temperature": 0}
    deadline = time.monotonic() + PATIENCE_S
    with server.awake():
        while server.post("/api/v1/playground/completions", body)["data"]["stepper"] != "kernels":
            if time.monotonic() > deadline:
                raise NotMeasured("the kernels were not compiled in time")
            time.sleep(0.2)


def transformers_server(folder: Path, log: Path, *options: str) -> Server:
    """`transformers serve` with one model, in bfloat16."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu"]
    where = ["--host", LOOPBACK, "--port", str(port), "--dtype", "bfloat16"]
    environ = {"HF_HOME": str(log.parent), "HF_HUB_OFFLINE": "1"}
    return Server([*command, *where, *options], port, "/health", log, environ)
