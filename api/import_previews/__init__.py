"""Previews of automatic imports in the schema."""

from api.import_previews.mutations import ImportPreviewMutations
from api.import_previews.types import ImportPreviewQueries

__all__ = ["ImportPreviewMutations", "ImportPreviewQueries"]
