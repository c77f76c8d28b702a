"""How soon the engine is free when a client hangs up: in the middle of a prompt, and of an answer.

`python -m bench.leaving` serves a Llama of 174 million random weights on loopback, sends requests of 3,000 prompt
tokens (a chunk of which takes a while) and of endless answers, streamed and whole, hangs up at a random moment and
watches the engine until it is idle. Prints milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.models import save_llama
from tests.server import Server, serving

MODEL = "bench/llama"


def main() -> None:
    """Runs all four situations."""
    parser = argparse.ArgumentParser(prog="python -m bench.leaving", description=__doc__)
    parser.add_argument("--times", type=int, default=12, help="how often each is tried (default 12)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save_llama(root / "llama")
        (root / "models.yaml").write_text(f"models:\n  - {{id: {MODEL}, path: llama}}\n")
        with serving(root / "models.yaml", root / "home") as server:
            server.post("/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 2})
            for where, num_prompt in (("in the prompt", 3000), ("in the answer", 20)):
                for stream in (False, True):
                    body = {"model": MODEL, "prompt": [7] * num_prompt, "max_tokens": 900, "stream": stream}
                    found = sorted(_left(server, body) for _ in range(times))
                    kind = "streamed" if stream else "whole"
                    print(f"{where}, {kind}: median {statistics.median(found):.0f} ms, most {found[-1]:.0f} ms")


def _left(server: Server, body: dict[str, Any]) -> float:
    """Milliseconds from hanging up to an idle engine."""
    (slot,) = server.app.registry._slots.values()
    engine: Any = slot.engine
    loop = engine._loop
    address = urlsplit(server.url)
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        while loop.is_idle():
            time.sleep(0.001)
        time.sleep(random.uniform(0.1, 0.8))
        assert not loop.is_idle(), "it was over before the client left"
    left_at = time.perf_counter()
    while not loop.is_idle():
        time.sleep(0.001)
    return (time.perf_counter() - left_at) * 1000


if __name__ == "__main__":
    main()
