"""What can be run: `models.yaml` and adapter folders, read strictly, as cards."""

from playground.catalog.catalog import Catalog
from playground.catalog.entry import Entry
from playground.catalog.live import LiveCatalog

__all__ = ["Catalog", "Entry", "LiveCatalog"]
