"""What can be run: `models.yaml` and adapter folders, read strictly, as cards."""

from playground.catalog.catalog import Catalog, load_catalog

__all__ = ["Catalog", "load_catalog"]
