"""What a run needs at hand: the models in their folder, and every contestant, started when it is first wanted.

Knows sizes, folders and how each contestant is started; nothing of figures.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import models
from bench.contestants import NotMeasured, Worker
from bench.machine import num_threads
from bench.servers import Server, own_server, transformers_server, wait_for_kernels

AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "-avx512f,-avx512bw,-avx512dq,-avx512vl,-avx512cd,+avx2,+fma",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}
"""What holds numba, oneDNN and torch to the instructions of an older processor."""
NO_LLAMA_CPP = "llama.cpp is not installed: pip install -r requirements-remote.txt"


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a run is: the Llamas by name, the smaller first, of which only that goes through all figures; what the
    architectures' models have in common; how often, and for how much, everything is asked; `at_once` bounds how many
    answers are asked for at once beside other programs; `one_by_one` has `transformers serve` measured without its
    continuous batching too, which takes long. `num_whole` is how long the answers are that are timed as wholes."""

    llamas: Mapping[str, Mapping[str, Any]]
    family: Mapping[str, Any]
    num_rounds: int
    num_answer: int
    at_once: tuple[int, ...] = (1, 2, 4, 8)
    one_by_one: bool = True
    num_prompt: int = 64
    num_whole: int = 64
    num_long: int = 1500


FULL = Scale({"174M": models.SMALL, "787M": models.LARGE}, models.FAMILY, num_rounds=3, num_answer=32)
QUICK = Scale({"174M": models.SMALL}, models.FAMILY, num_rounds=2, num_answer=16, at_once=(1, 8), one_by_one=False)


@dataclass
class Stage:
    """All that is at hand. Leaving its block ends every process."""

    scale: Scale
    folder: Path
    llama_python: str = sys.executable
    _made: dict[str, Any] = field(init=False, default_factory=dict)
    _closing: contextlib.ExitStack = field(init=False, default_factory=contextlib.ExitStack)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def catalog(self) -> Path:
        """The models, made when they are first asked for."""
        file = self.folder / "models.yaml"
        return file if file.exists() else models.save_catalog(self.folder, self.scale.llamas, self.scale.family)

    @property
    def small(self) -> str:
        """The Llama that goes through all figures."""
        return next(iter(self.scale.llamas))

    def weight_bytes(self, name: str) -> int:
        """How many bytes a Llama's weights are, all of which a token reads: the embeddings are the head too."""
        return 2 * models.num_weights(self.catalog.parent / name)

    def own(self, *, held: bool = False) -> Worker:
        """This program's engine; where it is `held`, to AVX2."""
        name, environ = ("own-avx2", AVX2) if held else ("own", {})
        # The server keeps its kernels' code there too.
        args = [str(self.catalog), str(self._home / ("kernels-avx2" if held else "kernels"))]
        return self._started(name, lambda: Worker("own", args, self._log(name), environ))

    def stock(self, *, held: bool = False) -> Worker:
        """transformers' generate; where it is `held`, to AVX2."""
        name, environ = ("stock-avx2", AVX2) if held else ("stock", {})
        return self._started(name, lambda: Worker("stock", [str(num_threads())], self._log(name), environ))

    def reading(self) -> Worker:
        """The memory's reading speed."""
        return self._started("reading", lambda: Worker("reading", [str(num_threads())], self._log("reading")))

    def llama_cpp(self) -> Worker:
        """llama.cpp, with its files made; raises `NotMeasured` where it is not installed."""
        return self._started("llama.cpp", self._llama_cpp)

    def gguf(self, name: str, *, small: bool = False) -> str:
        """A Llama's file for llama.cpp, in bfloat16 or in q8_0."""
        return str(self.folder / f"{name}{'.q8_0' if small else ''}.gguf")

    def server(self) -> Server:
        """This program, listening."""
        return self._started("server", self.new_server)

    def new_server(self) -> Server:
        """One more of it, for whoever asks to close. The kernels' code is kept from one to the next."""
        server = own_server(self.catalog, self._home, self._log("server"))
        try:
            wait_for_kernels(server, self.small)
        except NotMeasured:
            server.close()
            raise
        return server

    def serve(self, *options: str) -> Server:
        """`transformers serve` with the smaller Llama."""
        folder = self.catalog.parent / self.small
        return self._started(f"serve {options}", lambda: transformers_server(folder, self._log("serve"), *options))

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Another process that is busy all the time."""
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            yield
        finally:
            neighbour.kill()
            neighbour.wait()

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    def _llama_cpp(self) -> Worker:
        found = subprocess.run([self.llama_python, "-c", "import llama_cpp, gguf"], capture_output=True, check=False)
        if found.returncode:
            raise NotMeasured(NO_LLAMA_CPP)
        extra: tuple[str, ...] = ()
        with contextlib.closing(self._llama_cpp_worker()) as maker:
            for name in self.scale.llamas:
                maker.ask("make", folder=str(self.catalog.parent / name), file=self.gguf(name))
            tried = self.gguf(self.small, small=True)
            try:
                maker.ask("speed", model=tried, num_rows=1, num_prompt=8, num_answer=2, seed=0)
            except NotMeasured:
                extra = ("plain",)
        return self._llama_cpp_worker(*extra)

    def _llama_cpp_worker(self, *extra: str) -> Worker:
        args = [str(num_threads()), *extra]
        return Worker("llama", args, self._log("llama.cpp"), python=self.llama_python)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _started(self, name: str, start: Any) -> Any:
        if name not in self._made:
            self._made[name] = start()
            self._closing.callback(self._made[name].close)
        return self._made[name]
