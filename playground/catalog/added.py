"""What was added while the program ran: fine-tunes and watched folders, in a file of their own in models.yaml's format.

Knows that file and how it is changed; refuses to know which bases there are, and never writes to models.yaml.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path

import yaml
from filelock import FileLock

from playground.catalog.entry import Entry
from playground.catalog.models_file import ModelsFile, read_added_file
from playground.errors import ConfigurationError, InternalError, SaveFailed, broken_rule

_HEAD = "# Fine-tunes that were added on the page or over REST. The program writes this file: it may be changed\n"
_HEAD += "# while the program does not run.\n"
NOTHING = ModelsFile(Path(), (), ())


class AddedFile:
    """The file at `path`, which need not be there yet. Changes are whole or not at all, and two processes may make
    them. Reading raises `ConfigurationError` where the file is broken; changing then raises `SaveFailed`, and
    `InternalError` where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> ModelsFile:
        """What stands in it now."""
        return read_added_file(self.path) if os.path.lexists(self.path) else NOTHING

    def stamp(self) -> tuple[int, int] | None:
        """Differs once the file has changed."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def add(self, entry: Entry) -> None:
        """Adds a fine-tune; raises `InvalidRequest` where its id stands there already."""
        with self._changing() as file:
            if any(one.id == entry.id for one in file.entries):
                raise broken_rule("id", entry.id, "a model of this id was added already")
            self._write([*file.entries, entry], file.adapter_dirs)

    def remove(self, id: str) -> None:
        """Takes a fine-tune out, where it is there."""
        with self._changing() as file:
            self._write([one for one in file.entries if one.id != id], file.adapter_dirs)

    def watch(self, folder: Path) -> None:
        """Adds a folder in which adapters show up by themselves."""
        with self._changing() as file:
            if folder not in file.adapter_dirs:
                self._write(file.entries, [*file.adapter_dirs, folder])

    def unwatch(self, folder: Path) -> None:
        """Takes a folder out, where it is there."""
        with self._changing() as file:
            self._write(file.entries, [one for one in file.adapter_dirs if one != folder])

    @contextlib.contextmanager
    def _changing(self) -> Generator[ModelsFile, None, None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                yield self.read()
        except ConfigurationError as error:
            raise SaveFailed(
                f"the list of what was added is broken, and nothing was changed: mend {self.path}"
            ) from error
        except OSError as error:
            raise InternalError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def _write(self, entries: Sequence[Entry], folders: Sequence[Path]) -> None:
        data = {
            "models": [entry.model_dump(exclude_none=True) for entry in entries],
            "adapter_dirs": [str(folder) for folder in folders],
        }
        text = _HEAD + yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
        handle, unfinished = tempfile.mkstemp(prefix=f"{self.path.name}.", dir=self.path.parent)
        try:
            with open(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(unfinished, self.path)
        except BaseException:
            os.unlink(unfinished)
            raise
