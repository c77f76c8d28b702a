"""models.yaml: which keys there are, what each may say, and everything that is wrong with a file at once.

Knows the file and the folders that it names; refuses to know what a model card is or what runs it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from playground.catalog.entry import MAX_CONTEXT, Entry, is_hub_id, may_hold_a_secret
from playground.catalog.problems import ABSENT, Problems, Raw, shown
from playground.catalog.remote_rules import is_remote, remote_rules
from playground.catalog.yaml_file import Where, read_yaml
from playground.errors import ConfigurationError

_TOP_KEYS = ("models", "adapter_dirs")


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """A file in which nothing is wrong: chat templates are read, adapter folders made absolute.

    `folder` is what relative paths are relative to.
    """

    folder: Path
    entries: tuple[Entry, ...]
    adapter_dirs: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Given:
    """An entry on its way: `entry` lacks the keys that are wrong, `keys` are all that stand in the file."""

    position: int
    entry: Entry
    keys: frozenset[str]


def read_models_file(file: Path) -> ModelsFile:
    """Reads and checks a models.yaml; raises `ConfigurationError` with all that is wrong with it."""
    data, folder, problems = _opened(file)
    if not data:
        raise ConfigurationError([f"{file}: is empty: it must hold the key `models`"])
    given = _entries(data.get("models", ABSENT), problems)
    _check_ids(given, problems)
    checked = [_check(one, _rules(one, given, folder), folder, problems) for one in given]
    adapter_dirs = _adapter_dirs(data.get("adapter_dirs", []), folder, problems)
    problems.raise_if_any()
    return ModelsFile(folder, tuple(checked), adapter_dirs)


def read_added_file(file: Path) -> ModelsFile:
    """The same of a file of fine-tunes alone: their bases stand in the models.yaml, its folders need not be there
    today, and it may be empty."""
    data, folder, problems = _opened(file)
    given = _entries(data["models"], problems) if data.get("models") else []
    _check_ids(given, problems)
    checked = [_check(one, _added_rules(one), folder, problems) for one in given]
    names = _folder_names(data.get("adapter_dirs") or [], problems)
    problems.raise_if_any()
    return ModelsFile(folder, tuple(checked), tuple(local_path(name, folder) for _, name in names))


def _opened(file: Path) -> tuple[Mapping[str, Any], Path, Problems]:
    """What a file says, the folder that it stands in, and where what is wrong with it is collected."""
    yaml_file = read_yaml(file)
    data = {} if yaml_file.data is None else yaml_file.data
    if not isinstance(data, Mapping):
        raise ConfigurationError(
            [f"{file}, line 1: {shown(data)} is not allowed: it must be a mapping with the key `models`"]
        )
    problems = Problems(file, yaml_file)
    for key in yaml_file.duplicate_keys:
        rule = f"the key stands here a second time (first in line {key.first_line})"
        problems.add(key.where, Raw(key.value), rule, line=key.line)
    for key, value in data.items():
        if key not in _TOP_KEYS:
            problems.add((str(key),), value, _unknown(str(key), _TOP_KEYS))
    return data, file.absolute().parent, problems


def local_path(text: str, folder: Path) -> Path:
    """`text` as a path, relative ones from `folder`."""
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        return folder / text


def local_adapter(text: str, folder: Path) -> Path | None:
    """The folder that an entry's `adapter` means; None where it is the id of a Hub repo."""
    path = local_path(text, folder)
    looks_local = text.startswith((".", "/", "~")) or not is_hub_id(text)
    return path if looks_local or os.path.exists(path) else None


def _entries(models: Any, problems: Problems) -> list[_Given]:
    if not isinstance(models, list) or not models:
        problems.add(("models",), models, "it must be a list of at least one entry")
        return []
    return [given for i, raw in enumerate(models) if (given := _entry(i, raw, problems)) is not None]


def _entry(position: int, raw: Any, problems: Problems) -> _Given | None:
    where: Where = ("models", position)
    if not isinstance(raw, Mapping):
        problems.add(where, raw, "each entry must be a mapping of keys, with an id")
        return None
    raw = {str(key): value for key, value in raw.items()}
    keys = frozenset(raw)
    try:
        return _Given(position, Entry.model_validate(raw), keys)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]): detail for detail in error.errors()}
    for key, detail in wrong.items():
        value = raw.get(key, ABSENT)
        shown = Raw("(not shown)") if may_hold_a_secret(key, value) else value
        problems.add((*where, key), shown, _rule(key, detail, raw))
    sound = {key: value for key, value in raw.items() if key not in wrong}
    return _Given(position, Entry.model_construct(**{"id": "", **sound}), keys)


def _rule(key: str, detail: ErrorDetails, raw: Mapping[str, Any]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("extra_forbidden", "invalid_key"):
        return _unknown(key, tuple(Entry.model_fields))
    rules = {
        "missing": "every entry must have one",
        "string_type": "it must be text",
        "int_type": "it must be a whole number",
        "greater_than_equal": f"it must be a whole number from 1 to {MAX_CONTEXT}",
        "less_than_equal": f"it must be a whole number from 1 to {MAX_CONTEXT}",
        "literal_error": f"it must be one of {context.get('expected')}",
        "value_error": str(context.get("error")),
    }
    rule = rules.get(kind, detail["msg"])
    if kind == "string_type" and not isinstance(raw.get(key), list | Mapping):
        rule += ": put it in quotes"
    return rule


def _unknown(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"there is no such key; {hint}"


def _check_ids(given: Sequence[_Given], problems: Problems) -> None:
    first: dict[str, int] = {}
    for one in given:
        if one.entry.id in first:
            rule = f"an id must be unique, and entry #{first[one.entry.id] + 1} has it too"
            problems.add(("models", one.position, "id"), one.entry.id, rule)
        elif one.entry.id:
            first[one.entry.id] = one.position


def _check(one: _Given, rules: Sequence[tuple[str, str]], folder: Path, problems: Problems) -> Entry:
    """Tells what no single key shows; gives the entry with its chat template read."""

    def wrong(key: str, rule: str) -> None:
        value = getattr(one.entry, key) if key in one.keys else ABSENT
        problems.add(("models", one.position, key), value, rule)

    for key, rule in rules:
        wrong(key, rule)
    template = one.entry.chat_template
    if template is None:
        return one.entry
    try:
        return one.entry.model_copy(update={"chat_template": _template(template, folder)})
    except ValueError as error:
        wrong("chat_template", str(error))
        return one.entry


def _rules(one: _Given, given: Sequence[_Given], folder: Path) -> list[tuple[str, str]]:
    if "base_model" in one.keys or "adapter" in one.keys:
        return _fine_tune_rules(one, given, folder)
    return _base_rules(one, folder)


def _added_rules(one: _Given) -> list[tuple[str, str]]:
    needed = [key for key in ("base_model", "adapter") if key not in one.keys]
    return [(key, "only fine-tuned models stand in this file: it must have one") for key in needed]


def _base_rules(one: _Given, folder: Path) -> list[tuple[str, str]]:
    entry, rules = one.entry, remote_rules(one.entry, one.keys)
    for key, rule in (
        ("owner", "base models are for everyone: only a fine-tuned model (with base_model) has an owner"),
        ("merge", "only a fine-tuned model (with base_model) can be merged"),
    ):
        if getattr(entry, key) is not None:
            rules.append((key, rule))
    return rules if is_remote(one.keys) else rules + _source_rules(one, folder)


def _source_rules(one: _Given, folder: Path) -> list[tuple[str, str]]:
    """Where a base's weights come from."""
    entry, rules = one.entry, []
    if entry.path is not None:
        path = local_path(entry.path, folder)
        if not os.path.isdir(path):
            rules.append(("path", f"it must be a folder, and {path} is none"))
        if "revision" in one.keys:
            rules.append(("revision", "only weights from the Hub have revisions, and path names a folder"))
        if "repo" in one.keys:
            rules.append(("repo", "the weights come from one place, and path names another: take one of them out"))
    elif entry.repo is not None:
        if not is_hub_id(entry.repo):
            rules.append(("repo", "it must be a Hub repo's id, such as organization/name"))
    elif not one.keys & {"path", "repo"} and entry.id and not is_hub_id(entry.id):
        rules.append(("id", "without path or repo it must be a Hub repo's id, such as organization/name"))
    return rules


def _fine_tune_rules(one: _Given, given: Sequence[_Given], folder: Path) -> list[tuple[str, str]]:
    entry = one.entry
    base = next((other for other in given if other.entry.id == entry.base_model), None)
    base_keys = base.keys if base is not None else frozenset()
    rules = remote_rules(entry, one.keys, base_keys)
    for key in ("path", "repo"):
        if key in one.keys:
            rules.append((key, "only a base model has one: a fine-tuned model's weights stand in adapter"))
    if "base_model" not in one.keys:
        rules.append(("base_model", "an adapter belongs to a base model: name the id of its entry"))
    if entry.base_model is not None:
        rules += [("base_model", rule) for rule in _base_model_rules(entry.base_model, base, given)]
    if is_remote(one.keys | base_keys):
        return rules
    if "adapter" not in one.keys:
        rules.append(("adapter", "a fine-tuned model must name its PEFT folder or Hub repo"))
    dtype = entry.dtype if "dtype" in one.keys else base.entry.dtype if base is not None else None
    if entry.merge == "always" and dtype in ("int8", "int4"):
        rules.append(("merge", f"its base is loaded in {dtype}, and a merge needs the weights in full precision"))
    pinned = "revision" in one.keys and entry.adapter is not None
    if pinned and local_adapter(entry.adapter or "", folder) is not None:
        rules.append(("revision", "only an adapter from the Hub has revisions, and this one is a folder"))
    return rules


def _base_model_rules(name: str, base: _Given | None, given: Sequence[_Given]) -> list[str]:
    if base is None:
        bases = [one.entry.id for one in given if not one.keys & {"base_model", "adapter"}]
        near = difflib.get_close_matches(name, bases, n=1)
        return [f"no entry has this id{f'; did you mean {near[0]}?' if near else ''}"]
    if base.keys & {"base_model", "adapter"}:
        return ["it must be a base model, and that entry is a fine-tuned one"]
    return []


def _template(text: str, folder: Path) -> str:
    """An inline template as it is; a value of one line that ends in .jinja is a file."""
    if text.strip().endswith(".jinja") and "\n" not in text.strip():
        path = local_path(text.strip(), folder)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ValueError(f"it must be a file that can be read, and {path} cannot: {reason}") from None
    if "{{" not in text and "{%" not in text:
        raise ValueError("it must be a Jinja template (with {{ or {% in it) or a file's name ending in .jinja")
    return text


def _folder_names(value: Any, problems: Problems) -> list[tuple[int, str]]:
    """The names under `adapter_dirs`, each with its place in the list."""
    if not isinstance(value, list):
        problems.add(("adapter_dirs",), value, "it must be a list of folders")
        return []
    names: list[tuple[int, str]] = []
    for position, item in enumerate(value):
        if isinstance(item, str) and item.strip():
            names.append((position, item))
        else:
            problems.add(("adapter_dirs", position), item, "it must be the name of a folder")
    return names


def _adapter_dirs(value: Any, folder: Path, problems: Problems) -> tuple[Path, ...]:
    found: dict[Path, Path] = {}
    for position, item in _folder_names(value, problems):
        path = local_path(item, folder)
        if os.path.isdir(path):
            found.setdefault(path.resolve(), path)
        else:
            problems.add(("adapter_dirs", position), item, f"it must be a folder, and {path} is none")
    return tuple(found.values())
