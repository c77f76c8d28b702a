"""Models as things that one keeps: what each takes, in and out of memory, added and removed while the program runs."""

from playground.library.adding import MAX_ARCHIVE_BYTES, Adding, require_manager
from playground.library.library import Library, Shelf, Standing
from playground.library.places import place_named
from playground.library.saving import Saving, Work

__all__ = [
    "MAX_ARCHIVE_BYTES",
    "Adding",
    "Library",
    "Saving",
    "Shelf",
    "Standing",
    "Work",
    "place_named",
    "require_manager",
]
