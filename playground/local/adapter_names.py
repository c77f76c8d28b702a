"""What an adapter's configuration says by patterns, said by names.

peft would match the patterns itself, with Python's own engine, which no time limit holds and which stops every other
thread meanwhile. Knows PEFT's settings that are patterns and the names of a model's modules; nothing of tensors.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import regex
from peft import LoraConfig

from playground.patterns import pattern_problem

TIME_LIMIT_SECONDS = 2.0
"""For all patterns of one adapter together; a sensible one takes milliseconds."""
_PLAIN = re.compile(r"[\w.-]+")
_ALL_LINEAR = "all-linear"


class BadPattern(Exception):
    """A pattern that cannot be matched, and why."""


def spelled_out(config: LoraConfig, names: Iterable[str]) -> LoraConfig:
    """A copy of `config` that names every module among `names` in full; raises `BadPattern`."""
    config, names = copy.deepcopy(config), list(names)
    for setting in ("modules_to_save", "layers_pattern"):
        for item in _listed(getattr(config, setting)):
            if not _PLAIN.fullmatch(item):
                raise BadPattern(f"{setting}: {item[:60]!r} must be a plain name")
    matching = _Matching(names)
    for setting in ("target_modules", "exclude_modules"):
        pattern = getattr(config, setting)
        if isinstance(pattern, str) and pattern and pattern != _ALL_LINEAR:
            setattr(config, setting, set(matching.names(setting, pattern, "{}")))
    config.rank_pattern = matching.by_name("rank_pattern", config.rank_pattern or {})
    config.alpha_pattern = matching.by_name("alpha_pattern", config.alpha_pattern or {})
    return config


def exactly(name: str) -> str:
    """A pattern of peft's that one module alone has."""
    return f"^{re.escape(name)}"


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value or ()]


class _Matching:
    """Matches patterns against all modules' names, within one time limit for all."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._end = time.monotonic() + TIME_LIMIT_SECONDS

    def names(self, setting: str, pattern: str, form: str) -> Iterator[str]:
        """Names that match; `form` is what peft puts round the pattern."""
        shown = pattern if len(pattern) <= 60 else pattern[:60] + "…"
        problem = pattern_problem(pattern)
        if problem is not None:
            raise BadPattern(f"{setting}: {shown!r}: {problem}")
        try:
            compiled = regex.compile(form.format(pattern))
            for name in self._names:
                left = self._end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                if compiled.fullmatch(name, timeout=left, concurrent=True):
                    yield name
        except TimeoutError:
            took = f"takes more than {TIME_LIMIT_SECONDS:g} s to match against the model's names"
            raise BadPattern(f"{setting}: {shown!r} {took}") from None

    def by_name(self, setting: str, values: dict[str, Any]) -> dict[str, Any]:
        """The first value that a name's patterns give it, as peft has it."""
        spelled: dict[str, Any] = {}
        for pattern, value in values.items():
            for name in self.names(setting, pattern, r"(?:.*\.)?(?:{})"):
                spelled.setdefault(exactly(name), value)
        return spelled
