"""A YAML file with the line of every key, so that whoever reads it can say where something is wrong.

Knows YAML's syntax and refuses what it lets pass in silence: a key given twice. Refuses to know what the
keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from playground.errors import ConfigurationError

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class DuplicateKey:
    """A key that stands twice in one mapping; lines count from 1."""

    where: Where
    value: str
    line: int
    first_line: int


@dataclass(frozen=True, slots=True)
class YamlFile:
    """`data` is plain Python (None for an empty file); `where` is a path of keys and list positions."""

    data: Any
    root: yaml.Node | None
    duplicate_keys: tuple[DuplicateKey, ...]

    def line_of(self, where: Sequence[str | int]) -> int:
        """The line (from 1) of the deepest part of `where` that is there."""
        line, node = 1, self.root
        for step in where:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line


def read_yaml(file: Path) -> YamlFile:
    """Reads one document; raises `ConfigurationError` with line and column where it is not YAML."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError([f"{file}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{file}, line {line}: is not UTF-8 text: {error.reason}"]) from error
    try:
        return _parse(text)
    except yaml.YAMLError as error:
        raise ConfigurationError([f"{file}{_place(error, text)}: is not valid YAML: {_what(error)}"]) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError([f"{file}: has a value that YAML cannot read: {error}"]) from error


def _parse(text: str) -> YamlFile:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return YamlFile(None, None, ())
        # Before construction, which folds `<<` into the mapping and keeps the last of two equal keys.
        duplicates = tuple(_duplicates(root, (), set()))
        return YamlFile(loader.construct_document(root), root, duplicates)
    finally:
        loader.dispose()


def _duplicates(node: yaml.Node, where: Where, seen: set[int]) -> Iterator[DuplicateKey]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _duplicates(item, (*where, position), seen)
    elif isinstance(node, yaml.MappingNode):
        first_lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            here = (*where, str(key.value))
            line = key.start_mark.line + 1
            name = (key.tag, str(key.value))
            if name in first_lines:
                yield DuplicateKey(here, _shown(value), line, first_lines[name])
            first_lines.setdefault(name, line)
            yield from _duplicates(value, here, seen)


def _shown(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else "(a list or mapping)"


def _child(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    if isinstance(node, yaml.MappingNode):
        # Of two equal keys the last one counts.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark.line + 1, value
    return None


def _place(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        return f", line {before.count(chr(10)) + 1}, column {error.position - before.rfind(chr(10))}"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _what(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character {chr(int(error.character))!r} may not stand in it"
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    return ", ".join(part for part in parts if part) or str(error)
