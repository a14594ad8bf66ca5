"""One statement for all objects of a request that ask for the same thing.

Nothing is cached: a WebSocket's context lives for hours, and a second look must see what has changed.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from strawberry.dataloader import DataLoader

from api.node import show
from domain import (
    automatic_imports,
    contacts,
    external_accounts,
    ledger,
    outcomes,
    run_history,
    shown_fields,
    targets,
    waiting_room,
)
from domain.keyset import Slice, Span
from domain.undo import overview

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Wanted = TypeVar("Wanted", bound=Hashable)
Row = TypeVar("Row")
# The node is of a type that this module cannot name: the types stand on the loaders.
ShownAndNode: TypeAlias = tuple[shown_fields.ShownField, Any]


@dataclass(frozen=True, slots=True)
class PartOf(Generic[Wanted]):
    """A slice of what belongs to one parent."""

    parent_id: UUID
    span: Span
    wanted: Wanted


class Loaders:
    """The loaders of one request, each made when it is first used."""

    def __init__(self, account_id: UUID) -> None:
        self._account_id = account_id

    @cached_property
    def contact(self) -> DataLoader[UUID, contacts.Contact | None]:
        return self._one(contacts.by_ids)

    @cached_property
    def fields(self) -> DataLoader[UUID, dict[str, ShownAndNode]]:
        """All fields of the account, whose id is the key, by personalization tag; as nodes too, made once for all."""

        async def load(account_id: UUID, keys: Sequence[UUID]) -> dict[UUID, dict[str, ShownAndNode]]:
            fields: dict[str, ShownAndNode] = {
                row.personalization_tag: (row, show(row)) for row in await shown_fields.all_of(account_id)
            }
            return dict.fromkeys(keys, fields)

        return self._many(load)

    @cached_property
    def field(self) -> DataLoader[UUID, shown_fields.ShownField | None]:
        return self._one(shown_fields.by_ids)

    @cached_property
    def contact_list(self) -> DataLoader[UUID, targets.ListRow | None]:
        return self._one(targets.lists_by_ids)

    @cached_property
    def tag(self) -> DataLoader[UUID, targets.TagRow | None]:
        return self._one(targets.tags_by_ids)

    @cached_property
    def place_in_line(self) -> DataLoader[int, int | None]:
        return self._one(waiting_room.places_in_line)

    @cached_property
    def contact_count_of_list(self) -> DataLoader[UUID, targets.MemberCount]:
        return self._many(targets.counts_of_lists)

    @cached_property
    def contact_count_of_tag(self) -> DataLoader[UUID, targets.MemberCount]:
        return self._many(targets.counts_of_tags)

    @cached_property
    def tags_of_contact(self) -> DataLoader[UUID, list[targets.TagRow]]:
        return self._many(targets.tags_of_contacts)

    @cached_property
    def subscriptions_of_contact(self) -> DataLoader[UUID, list[targets.SubscriptionRow]]:
        return self._many(targets.subscriptions_of_contacts)

    @cached_property
    def records_of_contact(self) -> DataLoader[UUID, list[ledger.LedgerRow]]:
        return self._many(ledger.of_contacts)

    @cached_property
    def external_account(self) -> DataLoader[UUID, external_accounts.ExternalAccountRow | None]:
        return self._one(external_accounts.by_ids)

    @cached_property
    def external_accounts_of_service(self) -> DataLoader[str, list[external_accounts.ExternalAccountRow]]:
        return self._many(external_accounts.of_services)

    @cached_property
    def import_count_of_service(self) -> DataLoader[str, int]:
        return self._many(automatic_imports.counts_of_services)

    @cached_property
    def automatic_import(self) -> DataLoader[UUID, automatic_imports.ImportRow | None]:
        return self._one(automatic_imports.by_ids)

    @cached_property
    def imports_of_external_account(self) -> DataLoader[UUID, list[automatic_imports.ImportRow]]:
        return self._many(automatic_imports.of_external_accounts)

    @cached_property
    def backlog_of_import(self) -> DataLoader[UUID, automatic_imports.Backlog | None]:
        return self._one(automatic_imports.backlogs)

    @cached_property
    def linked_count_of_import(self) -> DataLoader[UUID, int]:
        return self._many(ledger.linked_counts)

    @cached_property
    def lists_of_import(self) -> DataLoader[UUID, list[targets.ListRow]]:
        return self._many(targets.lists_of_imports)

    @cached_property
    def tags_of_import(self) -> DataLoader[UUID, list[targets.TagRow]]:
        return self._many(targets.tags_of_imports)

    @cached_property
    def import_run(self) -> DataLoader[UUID, run_history.Run | None]:
        return self._one(run_history.by_ids)

    @cached_property
    def records_of_undo(self) -> DataLoader[PartOf[overview.UndoneFilter], Slice[overview.UndoneRow]]:
        return self._parts(overview.records_of_undos)

    @cached_property
    def last_run_of_import(self) -> DataLoader[UUID, run_history.Run | None]:
        return self._one(run_history.last_of_imports)

    @cached_property
    def runs_of_import(self) -> DataLoader[PartOf[run_history.RunFilter], Slice[run_history.Run]]:
        return self._parts(run_history.of_imports)

    @cached_property
    def records_of_import(self) -> DataLoader[PartOf[ledger.RecordFilter], Slice[ledger.LedgerRow]]:
        return self._parts(ledger.of_imports)

    @cached_property
    def outcomes_of_run(self) -> DataLoader[PartOf[outcomes.OutcomeFilter], Slice[outcomes.OutcomeRow]]:
        return self._parts(outcomes.of_runs)

    def _one(
        self, read: Callable[[UUID, Sequence[Key]], Awaitable[Mapping[Key, Value]]]
    ) -> DataLoader[Key, Value | None]:
        """For reads that leave out what is not there."""

        async def load(keys: list[Key]) -> list[Value | None]:
            found = await read(self._account_id, list(dict.fromkeys(keys)))
            return [found.get(key) for key in keys]

        return DataLoader(load_fn=load, cache=False)

    def _many(self, read: Callable[[UUID, Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> DataLoader[Key, Value]:
        """For reads that answer for every key."""

        async def load(keys: list[Key]) -> list[Value]:
            found = await read(self._account_id, list(dict.fromkeys(keys)))
            return [found[key] for key in keys]

        return DataLoader(load_fn=load, cache=False)

    def _parts(
        self, read: Callable[[UUID, Sequence[UUID], Span, Wanted], Awaitable[Mapping[UUID, Slice[Row]]]]
    ) -> DataLoader[PartOf[Wanted], Slice[Row]]:
        """For slices: one statement for all parents of which the same slice is wanted."""

        async def load(keys: list[PartOf[Wanted]]) -> list[Slice[Row]]:
            parents: dict[tuple[Span, Wanted], dict[UUID, None]] = {}
            for key in keys:
                parents.setdefault((key.span, key.wanted), {})[key.parent_id] = None
            found = {
                part: await read(self._account_id, list(parent_ids), *part) for part, parent_ids in parents.items()
            }
            return [found[key.span, key.wanted][key.parent_id] for key in keys]

        return DataLoader(load_fn=load, cache=False)
