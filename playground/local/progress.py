"""How far transformers is with reading or writing weights: its progress bars, told to whoever is listening.

Knows transformers' one hook for all bars of the process, and gives each thread its own listener.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from transformers.utils import logging as transformers_logging

_listener: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(report: Callable[[float], None]) -> Generator[None, None, None]:
    """Tells `report` of every step of this thread's bars, as a fraction of the whole; what it raises ends the work."""
    # The same hook each time, and for good: a load and a save in two threads must not take it from one another.
    transformers_logging.set_tqdm_hook(_bar)
    token = _listener.set(report)
    try:
        yield
    finally:
        _listener.reset(token)


def _bar(make: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    report = _listener.get()
    if report is None:
        return make(*args, **kwargs)
    iterable = args[0] if args else kwargs.get("iterable")
    total = kwargs.get("total") or (len(iterable) if isinstance(iterable, Sized) else None)
    return _Bar(report, iterable, total)


class _Bar:
    """Stands in for the progress bar of transformers; raises out of `update` when nobody waits."""

    def __init__(self, report: Callable[[float], None], iterable: Any = None, total: float | None = None) -> None:
        self._report, self._iterable, self.total, self.n = report, iterable, total, 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable or ():
            yield item
            self.update()

    def update(self, num: float = 1) -> None:
        self.n += num
        if self.total:
            self._report(min(self.n / self.total, 1.0))

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *args: object) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
