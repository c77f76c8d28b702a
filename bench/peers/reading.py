"""How fast this machine reads memory: a sum over far more numbers than any cache holds.

`python -m bench.peers.reading THREADS`
"""

from __future__ import annotations

import sys
import time

import torch

from bench.peers.obeying import obey

NUM_FLOATS, NUM_TIMES = 250_000_000, 5


def main() -> None:
    """Takes orders."""
    torch.set_num_threads(int(sys.argv[1]))
    numbers = torch.ones(NUM_FLOATS)

    def speed() -> float:
        """Gigabytes a second, the best of a few times."""
        return numbers.nbytes / 1e9 / min(_seconds(numbers) for _ in range(NUM_TIMES))

    obey({"speed": speed})


def _seconds(numbers: torch.Tensor) -> float:
    began_at = time.perf_counter()
    numbers.sum()
    return time.perf_counter() - began_at


if __name__ == "__main__":
    main()
