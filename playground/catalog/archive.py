"""Uploaded adapters: an archive is looked through before anything of it is written, and unpacked into a folder.

Knows archives and names of files; refuses pickles, code, links and whatever would leave its folder, and trusts nothing
that an archive says of its sizes.
"""

from __future__ import annotations

import json
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from playground.errors import InvalidRequest, shortened

MAX_FILES = 1000
MAX_JSON_BYTES = 64_000_000
"""A tokenizer of a quarter of a million tokens takes 30 MB."""
KEPT = frozenset({".safetensors", ".json", ".jinja"})
PASSED_OVER = frozenset({".md", ".txt", ".model", ".gitattributes", ".ds_store"})
"""Found beside adapters and needed for nothing: not unpacked."""
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz"})
_RULE = "an adapter is safetensors and JSON"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive, whatever its kind. `open` gives its bytes."""

    name: str
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, into: Path, max_bytes: int) -> None:
    """Unpacks a zip or tar file into the folder `into`, which is there and empty.

    Raises `InvalidRequest` with the file and the rule for what must not be in an archive; then whatever was written
    is for the caller to remove. No more than `max_bytes` are written.
    """
    try:
        with closing(_opened(archive)) as opened:
            members = [member for member in _members(opened) if not _is_finders(member.name)]
            _check_names(members)
            left = max_bytes
            for member in members:
                if _suffix(member.name) in KEPT:
                    left -= _write(member, into.joinpath(*PurePosixPath(member.name).parts), left, max_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, LZMAError) as error:
        raise _refusal(f"it is broken: {error}") from error
    except (RuntimeError, ValueError, OSError) as error:
        # What the readers raise for encrypted members, broken compression and impossible numbers.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _refusal(f"it cannot be read: {error}") from error


def _opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    try:
        return tarfile.open(archive)
    except tarfile.ReadError:
        raise _refusal("it must be a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file") from None


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    found = _in_zip(opened) if isinstance(opened, zipfile.ZipFile) else _in_tar(opened)
    for number, member in enumerate(found):
        if number >= MAX_FILES:
            raise _refusal(f"it has more than {MAX_FILES} files")
        yield member


def _in_zip(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        if kind not in (0, stat.S_IFREG):
            _refuse(info.filename, "links and devices are not unpacked")
        if info.flag_bits & 1:
            _refuse(info.filename, "it is encrypted")
        yield _Member(_from_here(info.filename), lambda info=info: opened.open(info))


def _in_tar(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if info.isdir():
            continue
        if not info.isreg():
            _refuse(info.name, "links and devices are not unpacked")
        yield _Member(_from_here(info.name), lambda info=info: _required(opened.extractfile(info)))


def _from_here(name: str) -> str:
    """A name without the `./` that tar writes where it is given a folder itself."""
    return name.removeprefix("./")


def _is_finders(name: str) -> bool:
    """What macOS puts beside each file, to be read by macOS."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")


def _required(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("a file has no content")
    return stream


def _check_names(members: list[_Member]) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.name
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or re.match("[A-Za-z]:", name) or ".." in parts:
            _refuse(name, "its name leads out of the archive's folder")
        if re.search(r"[\x00-\x1f\x7f]", name) or not all(parts) or len(name) > 500 or "." in parts:
            _refuse(name, "its name is none that a trainer gives a file")
        folded = name.casefold()
        if folded in seen:
            _refuse(name, "it is there twice")
        seen.add(folded)
        _check_kind(name)
    folders = {str(parent) for name in seen for parent in PurePosixPath(name).parents}
    for both in seen & folders:
        _refuse(both, "it is a file and a folder")
    if not any(name.endswith(".safetensors") for name in seen):
        raise _refusal(f"it has no .safetensors file: {_RULE}")


def _check_kind(name: str) -> None:
    suffix = _suffix(name)
    if suffix in PICKLES:
        _refuse(name, "pickles can run code when they are opened: leave it out, or save the adapter as safetensors")
    if suffix not in KEPT | PASSED_OVER:
        _refuse(name, f"{_RULE}: leave it out")


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2].lower()
    return base if base.startswith(".") and base.count(".") == 1 else PurePosixPath(base).suffix


def _write(member: _Member, path: Path, left: int, max_bytes: int) -> int:
    """Writes a member, of which no more than `left` bytes may come; gives how many it had."""
    is_json = path.suffix.lower() == ".json"
    limit = min(left, MAX_JSON_BYTES) if path.suffix.lower() != ".safetensors" else left
    path.parent.mkdir(parents=True, exist_ok=True)
    num_bytes = 0
    with member.open() as source, path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            num_bytes += len(chunk)
            if num_bytes > limit:
                if limit < left:
                    _refuse(member.name, f"it is larger than {MAX_JSON_BYTES:,} bytes")
                raise _refusal(f"unpacked it is larger than {max_bytes:,} bytes, which is the limit")
            target.write(chunk)
    if is_json:
        _check_json(member.name, path)
    return num_bytes


def _check_json(name: str, path: Path) -> None:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        _refuse(name, "it is not JSON")
    # transformers and peft run what these keys name, where they are told to trust it; nothing here needs them.
    for key in ("auto_map", "custom_pipelines", "trust_remote_code"):
        if _names(value, key):
            _refuse(name, f"{key} names code that would have to be run: leave it out")


def _names(value: Any, key: str) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get(key):
                return True
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False


def _refusal(rule: str) -> InvalidRequest:
    return InvalidRequest(f"archive: {rule}", param="archive")


def _refuse(name: str, rule: str) -> NoReturn:
    raise _refusal(f"{shortened(name)!r} is not allowed: {rule}")
