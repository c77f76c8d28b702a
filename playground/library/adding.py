"""Fine-tunes that come while the program runs: a folder, a Hub repo, or an uploaded archive; and how they go again.

Knows where each comes from, who may add it and to whom it belongs; refuses to load any.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from playground import hub
from playground.catalog import Entry, LiveCatalog
from playground.catalog.adapter_folders import AdapterFolder, checkpoint_step, find_adapters, read_adapter, read_config
from playground.catalog.archive import unpack
from playground.catalog.models_file import is_hub_id, local_path
from playground.errors import Forbidden, InternalError, InvalidRequest, ModelNotFound, broken_rule, shortened
from playground.hub import HubAdapter
from playground.library.naming import id_below, id_of, require_own, slug, stem
from playground.library.places import place_named
from playground.types import Caller, ModelCard

MAX_ARCHIVE_BYTES = 2_000_000_000
"""Of an archive, and again of what it unpacks to: an adapter of rank 256 on every layer of a 4B model takes 1 GB."""

_FOLDERS_ARE_LOCAL = (
    "folders of this server are for whoever sits at it: put yours under adapter_dirs in models.yaml, or send an archive"
)


class Adding:
    """Adds and removes fine-tunes. What is uploaded lies under `home`; what signed-in people add is theirs."""

    def __init__(self, catalog: LiveCatalog, home: Path) -> None:
        self._catalog, self._uploads = catalog, home / "adapters"

    def add(
        self,
        source: str,
        caller: Caller,
        *,
        base_model: str | None = None,
        id: str | None = None,
        revision: str | None = None,
    ) -> list[ModelCard]:
        """Adds the adapter in a folder, or in a Hub repo, or has all adapters below a folder show up, now and later.
        Gives the cards that there are now.

        Raises `InvalidRequest` where there is no adapter that can be run, or its id is taken, `ModelLoadFailed` where
        the Hub does not give it, `Forbidden`.
        """
        require_manager(caller)
        if id is not None:
            require_own(id, caller)
        if is_hub_id(source) and not os.path.isdir(local_path(source, Path.cwd())):
            found = read_config(hub.adapter_config_file(source, revision).parent)
            return [self._add(found, source, caller, base_model, id or id_below(source, caller), revision)]
        if not caller.everything:
            raise Forbidden(f"source: {_FOLDERS_ARE_LOCAL}")
        folder = Path(os.path.realpath(Path.cwd() / place_named(source, "source")))
        if revision is not None:
            raise broken_rule("revision", revision, "only an adapter from the Hub has revisions")
        return self._add_folder(source, folder, caller, base_model, id)

    @contextmanager
    def receiving(self) -> Generator[Path, None, None]:
        """Where an archive is kept while it comes: on the disk on which it is unpacked. Raises `InternalError`."""
        try:
            self._uploads.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(prefix=".receiving-", dir=self._uploads)
        except OSError as error:
            raise InternalError(f"archive: it could not be kept: {error.strerror or error}") from error
        with folder as name:
            yield Path(name) / "archive"

    def add_archive(
        self, archive: Path, file_name: str, caller: Caller, *, base_model: str | None = None, id: str | None = None
    ) -> ModelCard:
        """Unpacks an uploaded archive and adds the adapter in it. Raises `InvalidRequest` with the file and the rule
        where it has none, or has what is not allowed; then nothing of it is left."""
        require_manager(caller)
        if id is not None:
            require_own(id, caller)
        name = slug(id or stem(file_name)) or "adapter"
        with self._unpacked(archive) as unpacked:
            found = _only_adapter(unpacked, file_name)
            _require_sound(found, "archive")
            self._base(found, base_model, caller)
            place = self._place(name)
            os.rename(found.folder, place)
        try:
            found_id = id or self._free_id(f"{caller.account or 'uploads'}/{name}")
            return self._add(read_adapter(place), str(place), caller, base_model, found_id)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def remove(self, model_id: str, caller: Caller) -> None:
        """Takes a fine-tune out that was added, with its files where they were uploaded. Raises `ModelNotFound`,
        `InvalidRequest` for one that stands in the models.yaml, `Forbidden`."""
        card = self._catalog.card(model_id, caller.sees)
        require_manager(caller)
        if not self._catalog.was_added(card.id):
            raise broken_rule(
                "model", card.id, "it was not added here: it stands in models.yaml or in a watched folder"
            )
        if not self.may_remove(card, caller):
            raise Forbidden(f"{card.id} was added by somebody else.")
        self._catalog.remove(card.id)
        if self.was_uploaded(card):
            shutil.rmtree(card.adapter or "", ignore_errors=True)

    def may_remove(self, card: ModelCard, caller: Caller) -> bool:
        """Whether `remove` would."""
        own = caller.everything or (card.owner is not None and card.owner in (caller.account, caller.org))
        return own and caller.manages and self._catalog.was_added(card.id)

    def was_uploaded(self, card: ModelCard) -> bool:
        """Whether its files came here as an archive, and go when it is removed."""
        return Path(card.adapter or "").parent == Path(os.path.realpath(self._uploads))

    def watched(self, caller: Caller) -> list[str]:
        """The folders that were added to be watched, for whoever may change that."""
        return [str(folder) for folder in self._catalog.watched()] if caller.everything else []

    def problems(self, caller: Caller) -> list[str]:
        """What is wrong with the file of what was added, for whoever may mend it."""
        return self._catalog.problems() if caller.everything else []

    def unwatch(self, folder: str, caller: Caller) -> None:
        """Undoes the watching of a folder; raises `InvalidRequest` where it was not added here."""
        if not caller.everything:
            raise Forbidden(f"folder: {_FOLDERS_ARE_LOCAL}")
        if folder not in self.watched(caller):
            raise broken_rule("folder", folder, "it was not added here")
        self._catalog.unwatch(Path(folder))

    def on_hub(self, author: str, base_model: str, caller: Caller) -> Sequence[HubAdapter]:
        """A Hub user's adapters of a base of this catalog, the most downloaded first; raises `InvalidRequest` where
        the Hub knows no such user, `ModelLoadFailed` where it does not tell."""
        require_manager(caller)
        base = self._catalog.base_of(self._catalog.card(base_model, caller.sees))
        return hub.adapters_of(author, base.id)

    def _add_folder(
        self, source: str, folder: Path, caller: Caller, base_model: str | None, id: str | None
    ) -> list[ModelCard]:
        if not os.path.isdir(folder):
            rule = f"it must be a folder or a Hub repo's id, and there is no {shortened(str(folder))}"
            raise broken_rule("source", source, rule)
        own = read_adapter(folder)
        if own.problem is None:
            return [self._add(own, str(folder), caller, base_model, id or id_of(folder))]
        below = find_adapters(folder)
        if not any(one.problem is None for one in below):
            problem = f": {below[0].problem}" if below else ""
            raise broken_rule("source", source, f"there is no adapter in it or below it that can be run{problem}")
        if base_model or id:
            key, value = ("base_model", base_model) if base_model else ("id", id)
            raise broken_rule(key, value, f"{source} holds {len(below)} adapters: give it for one of them")
        self._catalog.watch(folder)
        return [
            card for card in self._catalog.cards.values() if card.adapter and Path(card.adapter).is_relative_to(folder)
        ]

    def _add(
        self,
        found: AdapterFolder,
        adapter: str,
        caller: Caller,
        base_model: str | None,
        id: str,
        revision: str | None = None,
    ) -> ModelCard:
        _require_sound(found, "source")
        keys = {"id": id, "base_model": self._base(found, base_model, caller).id, "adapter": adapter}
        if revision is not None:
            keys["revision"] = revision
        if caller.account is not None:
            keys["owner"] = caller.account
        try:
            entry = Entry.model_validate(keys)
        except ValidationError as error:
            [problem, *_] = error.errors()
            rule = problem["msg"].removeprefix("Value error, ")
            raise broken_rule(str(problem["loc"][0]), problem["input"], rule) from None
        return self._catalog.add(entry)

    def _base(self, found: AdapterFolder, base_model: str | None, caller: Caller) -> ModelCard:
        """The base that was named, or that the adapter was trained on."""
        if base_model is not None:
            return self._named_base(found, base_model, caller)
        base = self._catalog.base_named(found)
        if base is None:
            rule = "it is not among the models here: name the base to run it on, or add that to models.yaml"
            raise broken_rule("base_model", found.base_name, rule)
        return base

    def _named_base(self, found: AdapterFolder, base_model: str, caller: Caller) -> ModelCard:
        try:
            card = self._catalog.card(base_model, caller.sees)
        except ModelNotFound as error:
            raise ModelNotFound(error.message, param="base_model") from None
        if card.type != "base":
            raise broken_rule("base_model", base_model, "it must be a base model")
        elsewhere = None if card.is_remote else self._catalog.trained_elsewhere(found, card)
        if elsewhere is not None:
            raise broken_rule("base_model", base_model, elsewhere)
        return card

    def _free_id(self, id: str) -> str:
        ids = (id if number == 1 else f"{id}-{number}" for number in range(1, 10_000))
        return next(one for one in ids if one not in self._catalog.cards)

    @contextmanager
    def _unpacked(self, archive: Path) -> Generator[Path, None, None]:
        try:
            self._uploads.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=self._uploads) as folder:
                unpack(archive, Path(folder), MAX_ARCHIVE_BYTES)
                yield Path(folder)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "the disk is full" if full else str(error.strerror or error)
            raise InternalError(f"archive: it could not be unpacked: {reason}") from error

    def _place(self, name: str) -> Path:
        uploads = Path(os.path.realpath(self._uploads))
        places = (uploads / (name if number == 1 else f"{name}-{number}") for number in range(1, 10_000))
        return next(place for place in places if not os.path.lexists(place))


def require_manager(caller: Caller) -> None:
    """Raises `Forbidden` for who may only look."""
    if not caller.manages:
        raise Forbidden(
            "Only whoever sits at this machine, has a key of this server or manages this Space may do that."
        )


def _only_adapter(unpacked: Path, file_name: str) -> AdapterFolder:
    """The one adapter below a folder, which may have its checkpoints below itself."""
    found = find_adapters(unpacked)
    if not found:
        raise broken_rule("archive", file_name, "it holds no adapter: adapter_config.json is missing")
    top = found[0].folder
    apart = [one.folder for one in found if checkpoint_step(one.folder) is None or one.folder.parent != top]
    if len(apart) > 1:
        names = ", ".join(str(folder.relative_to(unpacked)) for folder in apart[:3])
        more = ", …" if len(apart) > 3 else ""
        rule = (
            f"it holds {len(apart)} adapters ({names}{more}): send an archive of one, or of a run with its checkpoints"
        )
        raise broken_rule("archive", file_name, rule)
    return found[0]


def _require_sound(found: AdapterFolder, param: str) -> None:
    if found.problem is not None:
        raise InvalidRequest(f"{param}: {found.problem}", param=param)
