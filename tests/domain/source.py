"""A made-up service account that sends pages straight into the engine, and what became of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from domain import database
from domain.account import find_or_create_account
from domain.enums import Outcome
from domain.ingest import Incoming, Stored, let_in, store_due, store_page
from domain.models import AutomaticImport, ExternalAccount, ImportList, ImportTag
from domain.records import FieldSpec, FieldType, Record
from domain.turns import Turn

FIELDS = {
    "vip": FieldSpec(key="vip", title="VIP", type=FieldType.BOOLEAN),
    "birthday": FieldSpec(key="birthday", title="Birthday", type=FieldType.DATE),
    "total": FieldSpec(key="total", title="Total spent", type=FieldType.NUMBER),
    "note": FieldSpec(key="note", title="Note", type=FieldType.TEXTAREA),
    "shoe": FieldSpec(key="shoe", title="Shoe size", type=FieldType.TEXT, open_ended=True),
    "_secret": FieldSpec(key="_secret", title="Secret", type=FieldType.TEXT, open_ended=True),
}


def record(external_id: str, email: str | None = "", **values: Any) -> Record:
    """A record; its address is made from its id unless given."""
    return Record(external_id=external_id, email=f"{external_id}@example.com" if email == "" else email, **values)


@dataclass(kw_only=True)
class Source:
    """One external account with one automatic import, whose lease and revision are held."""

    account_id: UUID
    external_account_id: UUID
    automatic_import_id: UUID
    lease_token: UUID
    revision: int = 1
    service: str = "shopify"
    unstable_ids: bool = False
    specs: Mapping[str, FieldSpec] = field(default_factory=lambda: dict(FIELDS))

    @property
    def turn(self) -> Turn:
        """This import's turn."""
        return Turn(
            account_id=self.account_id,
            external_account_id=self.external_account_id,
            lease_token=self.lease_token,
            automatic_import_id=self.automatic_import_id,
            revision=self.revision,
            service=self.service,
            unstable_ids=self.unstable_ids,
        )

    async def send(
        self,
        *records: Record,
        deleted: Sequence[str] = (),
        checkpoint: Mapping[str, Any] | None = None,
        start: int = 0,
        allowance: int | None = None,
        sweep: bool = False,
        complete: bool = False,
    ) -> Stored:
        """Send one page."""
        page = Incoming(
            records=records,
            fields=self.specs,
            deleted_ids=deleted,
            checkpoint=checkpoint or {"at": "the end"},
            sweep=sweep or complete,
            complete=complete,
        )
        return await store_page(self.turn, page, start=start, allowance=allowance)

    async def ingest_due(self) -> Stored | None:
        """What is due from the ledger."""
        return await store_due(self.turn)

    async def let_in(self) -> Counter[Outcome]:
        """Let in from the waiting room whoever may come, in a run of its own."""
        run_id, counts = uuid7(), Counter[Outcome]()
        while stored := await let_in(self.account_id, self.automatic_import_id, run_id=run_id, unstable_services=()):
            counts += stored.counts
        return counts

    async def next_window(self) -> None:
        """The cap is whole again."""
        await ExternalAccount.filter(account_id=self.account_id, id=self.external_account_id).update(window_used=0)

    async def target(self, *, list_id: UUID | None = None, tag_id: UUID | None = None) -> None:
        """Give the import a list or a tag as a target."""
        if list_id:
            await ImportList.create(
                account_id=self.account_id, automatic_import_id=self.automatic_import_id, list_id=list_id
            )
        if tag_id:
            await ImportTag.create(
                account_id=self.account_id, automatic_import_id=self.automatic_import_id, tag_id=tag_id
            )

    async def ledger(self) -> dict[str, tuple[str, str | None]]:
        """State and code of every record, by external id."""
        rows = await database.fetch(
            "SELECT external_id, state, code FROM ledger WHERE automatic_import_id = $1", self.automatic_import_id
        )
        return {row["external_id"]: (row["state"], row["code"]) for row in rows}

    async def outcomes(self) -> list[tuple[str, str, str | None]]:
        """External id, outcome and code of every stored outcome, oldest first."""
        rows = await database.fetch(
            "SELECT external_id, outcome, code FROM outcome WHERE automatic_import_id = $1 ORDER BY created_at, id",
            self.automatic_import_id,
        )
        return [(row["external_id"], row["outcome"], row["code"]) for row in rows]

    async def checkpoint(self) -> object:
        """The import's checkpoint as stored."""
        return (await AutomaticImport.get(account_id=self.account_id, id=self.automatic_import_id)).checkpoint


async def make_source(account_name: str = "Acme", **settings: Any) -> Source:
    """A source in an account of that name; `settings` are the import's columns."""
    account = await find_or_create_account(account_name)
    lease_token = uuid4()
    now = datetime.now(UTC)
    external_account = await ExternalAccount.create(
        account_id=account.id,
        service="shopify",
        remote_identity=str(uuid4()),
        label="A shop",
        lease_token=lease_token,
        lease_expires_at=now + timedelta(hours=1),
        window_ends_at=now + timedelta(hours=1),
    )
    source = Source(
        account_id=account.id,
        external_account_id=external_account.id,
        automatic_import_id=uuid4(),
        lease_token=lease_token,
    )
    return await add_import(source, **settings)


async def add_import(source: Source, **settings: Any) -> Source:
    """Another import of the same external account."""
    automatic_import = await AutomaticImport.create(
        account_id=source.account_id, external_account_id=source.external_account_id, name="Customers", **settings
    )
    return Source(
        account_id=source.account_id,
        external_account_id=source.external_account_id,
        automatic_import_id=automatic_import.id,
        lease_token=source.lease_token,
    )
