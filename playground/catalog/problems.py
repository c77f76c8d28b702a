"""Everything that is wrong with a YAML file of models, collected and told in the order of the file.

Knows lines, entries and keys; refuses to know what they may say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from playground.catalog.yaml_file import Where, YamlFile
from playground.errors import ConfigurationError

ABSENT = object()
"""In place of a value that is not there."""


class Problems:
    """Collects lines of file, entry, key, value and rule; gives them in the order of the file."""

    def __init__(self, file: Path, yaml_file: YamlFile) -> None:
        self._file = file
        self._yaml = yaml_file
        self._found: list[tuple[int, str]] = []

    def add(self, where: Where, value: object, rule: str, line: int | None = None) -> None:
        line = self._yaml.line_of(where) if line is None else line
        top, *below = where
        entry = ""
        if top == "models" and below:
            entry = f", entry {self._label(below[0])}"
            where = tuple(below[1:])
        key = ".".join(str(part) for part in where) or "(the entry)"
        text = f"{self._file}, line {line}{entry}: {key}: {shown(value)} is not allowed: {rule}"
        self._found.append((line, text))

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigurationError([text for _, text in sorted(self._found, key=lambda found: found[0])])

    def _label(self, position: str | int) -> str:
        models = self._yaml.data["models"]
        raw = models[position] if isinstance(position, int) else None
        name = raw.get("id") if isinstance(raw, Mapping) else None
        return repr(name) if isinstance(name, str) and name else f"#{int(position) + 1}"


@dataclass(frozen=True, slots=True)
class Raw:
    """A value that is shown as it stands in the file."""

    text: str

    def __repr__(self) -> str:
        return self.text


def shown(value: object) -> str:
    """A value as a message can carry it."""
    if value is ABSENT:
        return "(absent)"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
