"""Runs of automatic imports in the schema."""

from api.import_runs.mutations import ImportRunMutations
from api.import_runs.subscriptions import ImportRunSubscriptions
from api.import_runs.types import RUNS, ImportRun, ImportRunQueries

__all__ = ["RUNS", "ImportRun", "ImportRunMutations", "ImportRunQueries", "ImportRunSubscriptions"]
