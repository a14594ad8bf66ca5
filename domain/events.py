"""What is told live. The runs' rows are the truth; an event only says that one of them changed."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChanged:
    """A run's row is now at `revision` or later."""

    account_id: UUID
    automatic_import_id: UUID
    run_id: UUID
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportChanged:
    """Somebody changed an automatic import, and with it, maybe, what it has under way."""

    account_id: UUID
    automatic_import_id: UUID


class Events(Protocol):
    """Tells whoever watches. Never raises: nobody may lose data because nobody could be told."""

    async def publish(self, event: RunChanged | ImportChanged) -> None:
        """Tell every API process; after the commit."""


class Changes(Protocol):
    """A slot that holds at most one notice: a slow watcher misses notices, never the latest state."""

    async def wait(self) -> None:
        """Return as soon as something changed since the last call, or may have (a lost connection is back)."""


class Watch(Protocol):
    """Where an API process hears of changes: one reader per process, fanned out to every watcher."""

    def changes(self, account_id: UUID, *, automatic_import_id: UUID | None = None) -> AbstractContextManager[Changes]:
        """Changes of one import's runs, or of all the account's runs."""
