"""Automatic imports in the schema."""

from api.automatic_imports.mutations import AutomaticImportMutations
from api.automatic_imports.types import AutomaticImport, AutomaticImportQueries

__all__ = ["AutomaticImport", "AutomaticImportMutations", "AutomaticImportQueries"]
