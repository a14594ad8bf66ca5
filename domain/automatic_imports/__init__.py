"""Automatic imports: reading them, and the changes that users make."""

from domain.automatic_imports.changing import (
    create,
    delete,
    get,
    pause,
    read_all_again,
    resume,
    run_now,
    update,
    warnings,
)
from domain.automatic_imports.reading import (
    Backlog,
    ImportFilter,
    ImportRow,
    ShownState,
    backlogs,
    by_ids,
    counts_of_services,
    of_external_accounts,
    page,
)

__all__ = [
    "Backlog",
    "ImportFilter",
    "ImportRow",
    "ShownState",
    "backlogs",
    "by_ids",
    "counts_of_services",
    "create",
    "delete",
    "get",
    "of_external_accounts",
    "page",
    "pause",
    "read_all_again",
    "resume",
    "run_now",
    "update",
    "warnings",
]
