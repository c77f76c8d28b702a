"""The catalog as it is now: adapters that a training run writes show up, and fine-tunes are added and removed.

Knows when to look again and who is told of what has gone; refuses to know what is loaded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from playground.catalog.adapter_folders import AdapterFolder
from playground.catalog.added import AddedFile
from playground.catalog.catalog import base_named, catalog_of, trained_elsewhere
from playground.catalog.entry import Entry
from playground.catalog.models_file import read_models_file
from playground.errors import ConfigurationError, ModelNotFound, broken_rule
from playground.types import ModelCard

LOOK_AGAIN_SECONDS = 2.0
"""So long a look at the folders is fresh enough; each costs one listing of every folder."""

log = logging.getLogger(__name__)


class LiveCatalog:
    """The cards of a models.yaml, which is read once, of the fine-tunes that were added, and of the folders that both
    name. Raises `ConfigurationError` where either file is broken at the start."""

    def __init__(self, models_file: Path, added_file: Path) -> None:
        self._file, self._added_file = read_models_file(models_file), AddedFile(added_file)
        self._added, self._stamp = self._added_file.read(), self._added_file.stamp()
        self._broken: tuple[str, ...] = ()
        self._catalog = catalog_of(self._file, self._added)
        self._looked_at = time.monotonic()
        self._looking = threading.Lock()
        self._on_gone: list[Callable[[ModelCard], None]] = []

    @property
    def cards(self) -> Mapping[str, ModelCard]:
        """All cards as they were at the last look; where that is old, another one begins behind this."""
        if self._is_stale() and not self._looking.locked():
            threading.Thread(target=self._look, name="look for adapters", daemon=True).start()
        return self._catalog.cards

    def card(self, id: str, visible: Callable[[ModelCard], bool] | None = None) -> ModelCard:
        """The card of a model; raises `ModelNotFound` where it is not there at a second look either."""
        try:
            return self._catalog.card(id, visible)
        except ModelNotFound:
            self._look()
            return self._catalog.card(id, visible)

    def base_of(self, card: ModelCard) -> ModelCard:
        """The base under a fine-tune, a base itself; raises `ModelLoadFailed` where the base is unknown."""
        return self._catalog.base_of(card)

    def base_named(self, found: AdapterFolder) -> ModelCard | None:
        """The base that an adapter says it was trained on, where it is here."""
        return base_named(found, self._bases(), self._file.folder)

    def trained_elsewhere(self, found: AdapterFolder, base: ModelCard) -> str | None:
        """Why an adapter is none of `base`, where it says so."""
        return trained_elsewhere(found, base, self._bases(), self._file.folder)

    def _bases(self) -> list[ModelCard]:
        return [card for card in self._catalog.cards.values() if card.type == "base"]

    def was_added(self, id: str) -> bool:
        """Whether a fine-tune stands in the file of what was added, so that it can be removed."""
        return any(entry.id == id for entry in self._added.entries) and not self._is_listed(id)

    def problems(self) -> list[str]:
        """What is wrong with the file of what was added, as somebody's hand has left it."""
        unused = [entry.id for entry in self._added.entries if self._is_listed(entry.id)]
        rule = "is not used: models.yaml has a model of this id, so take it out here"
        return [*self._broken, *(f"{self._added_file.path}: {id} {rule}" for id in unused)]

    def watched(self) -> tuple[Path, ...]:
        """The folders that were added to those of the models.yaml."""
        return self._added.adapter_dirs

    def add(self, entry: Entry) -> ModelCard:
        """Adds a fine-tune; raises `InvalidRequest` where its id is taken."""
        if entry.id in self._catalog.cards:
            raise broken_rule("id", entry.id, "there is a model of this id already")
        self._added_file.add(entry)
        self.look_again()
        return self._catalog.card(entry.id)

    def remove(self, id: str) -> None:
        """Takes a fine-tune out that was added; its files stay."""
        self._added_file.remove(id)
        self.look_again()

    def watch(self, folder: Path) -> None:
        """Has the adapters in a folder show up by themselves, now and later."""
        self._added_file.watch(folder)
        self.look_again()

    def unwatch(self, folder: Path) -> None:
        """Undoes `watch`."""
        self._added_file.unwatch(folder)
        self.look_again()

    def when_gone(self, tell: Callable[[ModelCard], None]) -> None:
        """Has `tell` called for each card that is no longer there, from any thread."""
        self._on_gone.append(tell)

    def look_again(self) -> None:
        """Reads the folders and the added file now; blocks."""
        with self._looking:
            self._read()

    def _look(self) -> None:
        """The same unless it was done just now, by whoever came first."""
        with self._looking:
            if self._is_stale():
                self._read()

    def _is_listed(self, id: str) -> bool:
        return any(entry.id == id for entry in self._file.entries)

    def _is_stale(self) -> bool:
        return time.monotonic() - self._looked_at > LOOK_AGAIN_SECONDS

    def _read(self) -> None:
        before = self._catalog.cards
        self._read_added()
        self._catalog = catalog_of(self._file, self._added)
        self._looked_at = time.monotonic()
        for card in before.values():
            if self._catalog.cards.get(card.id) != card:
                for tell in self._on_gone:
                    tell(card)

    def _read_added(self) -> None:
        stamp = self._added_file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._added, self._broken = self._added_file.read(), ()
        except ConfigurationError as error:
            # Somebody is changing it: what it said before holds until it can be read again.
            self._broken = error.problems
            log.warning("%s", error.message)
