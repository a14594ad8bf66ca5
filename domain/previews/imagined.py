"""What the database would hold after the records decided so far: read from it, never written to it.

The decisions are the engine's own; what a page's transaction would leave behind for the next page is kept here.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from domain import database, fields
from domain.database import Connection
from domain.enums import LedgerState, Outcome, OutcomeCode
from domain.fields import FieldToMake
from domain.ingest.decisions import Decision, Plan
from domain.ingest.items import Item, item_of_ledger, seen_values
from domain.ingest.known import Entry, Known, load, load_entries
from domain.ingest.plan import is_repeated, plan
from domain.records import FieldSpec
from domain.turns import Turn


@dataclass(slots=True, kw_only=True)
class Imagined:
    """`known` grows with everything that is read and decided, `items` are the records as last seen.

    `starts_over`: the import's own records leave the waiting room first, because its criteria change. `free` is how
    many more contacts may be ACTIVE, `ahead` how many wait for that, `tags` the personalization tags in use.
    """

    turn: Turn
    known: Known
    starts_over: bool
    tags: set[str]
    free: int
    ahead: int
    made: dict[str, FieldToMake] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop all that grows with the records; what is left is exact for each page by itself."""
        self.known = Known(rules=self.known.rules, entries={}, siblings={}, fields=self.known.fields)
        self.items = {}


async def decide(imagined: Imagined, items: Sequence[Item], specs: Mapping[str, FieldSpec]) -> Plan:
    """What becomes of `items`, at most 500 with distinct ids; whatever comes later sees what they did."""
    known = imagined.known
    async with _reading() as connection:
        await _learn_entries(imagined, connection, [item.external_id for item in items])
        news = [item for item in items if not _is_seen(item, known.entries.get(item.external_id))]
        await _make_fields(imagined, connection, news, specs)
        changed = [item for item in items if not is_repeated(item, known.entries.get(item.external_id))]
        loaded = await load(
            connection, imagined.turn, known.rules, changed,
            entries=known.entries, siblings=known.siblings, fields=known.fields, lock=False, lock_account=False,
        )  # fmt: skip
        _learn(known, loaded)
        known.room, known.queued = imagined.free - imagined.ahead, imagined.ahead > 0
        # Every record costs one at most: nothing is cut.
        decided = plan(items, known, allowance=len(items))
        imagined.free -= decided.active_delta
        for decision in decided.decisions:
            _keep(imagined, decision)
        if known.queued or decided.held_back:
            _tell_waiting(known, decided.decisions)
        await _name_successors(imagined, connection, set(known.released.values()))
        known.released.clear()
    return decided


async def decide_due(imagined: Imagined, *, limit: int) -> Plan | None:
    """What becomes of records that are due, None where none is: the engine, too, ingests them before it reads on."""
    due = [external_id for external_id, entry in imagined.known.entries.items() if entry.due]
    items = [replace(imagined.items[external_id], forced=True) for external_id in due[:limit]]
    return await decide(imagined, items, {}) if items else None


async def learn_due(imagined: Imagined) -> None:
    """The records of the ledger that are due already."""
    async with _reading() as connection:
        rows = await connection.fetch(
            "SELECT external_id FROM ledger WHERE account_id = $1 AND automatic_import_id = $2 AND due"
            " ORDER BY position",
            imagined.turn.account_id, imagined.turn.automatic_import_id,
        )  # fmt: skip
        await _learn_items(imagined, connection, [row["external_id"] for row in rows])


async def delete(imagined: Imagined, external_ids: Sequence[str]) -> None:
    """The source deleted these records: what they held goes to the next in line."""
    known = imagined.known
    async with _reading() as connection:
        await _learn_entries(imagined, connection, external_ids)
        released = set()
        for external_id in external_ids:
            entry = known.entries.get(external_id)
            if entry is None or entry.state is LedgerState.DELETED:
                continue
            if entry.email_key and (entry.state is LedgerState.LINKED or entry.due):
                released.add(entry.email_key)
                if known.holders.get(entry.email_key) == external_id:
                    del known.holders[entry.email_key]
            imagined.ahead -= entry.code is OutcomeCode.CONTACT_LIMIT
            known.entries[external_id] = replace(entry, state=LedgerState.DELETED, code=None, due=False)
        await _name_successors(imagined, connection, released)


@asynccontextmanager
async def _reading() -> AsyncIterator[Connection]:
    """A transaction in which PostgreSQL itself refuses to write, and to lock a row."""
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


def _is_seen(item: Item, entry: Entry | None) -> bool:
    return item.forced or (entry is not None and entry.digest == item.digest)


async def _learn_entries(imagined: Imagined, connection: Connection, external_ids: Sequence[str]) -> None:
    known = imagined.known
    unknown = [external_id for external_id in external_ids if external_id not in imagined.items]
    entries, siblings = await load_entries(connection, imagined.turn, unknown)
    for external_id, entry in entries.items():
        if not (imagined.starts_over and entry.state is LedgerState.WAITING):
            known.entries.setdefault(external_id, entry)
    known.siblings |= siblings


async def _learn_items(imagined: Imagined, connection: Connection, external_ids: Sequence[str]) -> None:
    """The records of ledger rows, as last seen."""
    rows = await connection.fetch(
        "SELECT external_id, record::text, digest FROM ledger WHERE account_id = $1 AND external_account_id = $2"
        " AND automatic_import_id = $3 AND external_id = ANY($4::text[]) ORDER BY position",
        imagined.turn.account_id, imagined.turn.external_account_id, imagined.turn.automatic_import_id, external_ids,
    )  # fmt: skip
    await _learn_entries(imagined, connection, [row["external_id"] for row in rows])
    for row in rows:
        item = item_of_ledger(row["external_id"], row["record"], row["digest"])
        imagined.items.setdefault(row["external_id"], item)


async def _make_fields(
    imagined: Imagined, connection: Connection, items: Iterable[Item], specs: Mapping[str, FieldSpec]
) -> None:
    known, turn = imagined.known, imagined.turn
    made = fields.fields_to_make(
        known.fields, imagined.tags,
        service=turn.service, external_account_id=turn.external_account_id, specs=specs, seen=seen_values(list(items)),
    )  # fmt: skip
    if not made:
        return
    known.fields = fields.with_made(known.fields, made)
    imagined.tags |= {each.tag for each in made if each.tag}
    imagined.made |= {each.spec.key: each for each in made}
    # The first record that had the key is ingested once more, now that it is a field.
    firsts = [fields.first_record(each) for each in made if each.candidate]
    ids = [
        external_id for external_account_id, external_id in firsts if external_account_id == turn.external_account_id
    ]
    await _learn_items(imagined, connection, ids)
    for external_id in ids:
        entry = known.entries.get(external_id)
        if entry is not None and entry.state is LedgerState.LINKED and external_id in imagined.items:
            known.entries[external_id] = replace(entry, due=True)


def _learn(known: Known, loaded: Known) -> None:
    """Add what was loaded, as far as nothing is known yet that would have changed it."""
    new = {contact_id: draft for contact_id, draft in loaded.contacts.items() if contact_id not in known.contacts}
    known.contacts |= new
    for draft in new.values():
        known.by_key.setdefault(draft.email_key, draft)
    known.targets |= {target for target in loaded.targets if target[0] in new}
    known.tombstones |= loaded.tombstones
    known.suppressed = loaded.suppressed | known.suppressed
    for email_key, external_id in loaded.holders.items():
        entry = known.entries.get(external_id)
        if entry is None or (entry.state is LedgerState.LINKED and entry.email_key == email_key):
            known.holders.setdefault(email_key, external_id)


def _keep(imagined: Imagined, decision: Decision) -> None:
    """What the decision would leave in the ledger, and as a suppression."""
    if decision.repeated:
        return
    known, item = imagined.known, decision.item
    before = known.entries.get(item.external_id)
    known.entries[item.external_id] = Entry(
        automatic_import_id=imagined.turn.automatic_import_id,
        external_id=item.external_id,
        contact_id=decision.contact_id,
        email_key=decision.email_key,
        digest=item.digest,
        applied=decision.applied if decision.applied is not None else item.snapshot,
        state=decision.state,
        code=decision.code,
        due=False,
        updated_at=datetime.now(UTC),
    )
    imagined.items[item.external_id] = replace(item, forced=False)
    imagined.ahead += decision.code is OutcomeCode.CONTACT_LIMIT
    imagined.ahead -= before is not None and before.code is OutcomeCode.CONTACT_LIMIT
    contact = decision.contact
    if decision.gone_key is not None:
        known.tombstones.add(decision.gone_key)
    if contact is not None and decision.opts_out:
        known.suppressed[contact.email_key, None] = contact.status


def _tell_waiting(known: Known, decisions: Sequence[Decision]) -> None:
    """Whoever waits under an address that now has a contact is ingested once more."""
    taken = {
        decision.contact.email_key
        for decision in decisions
        if decision.contact is not None
        and (decision.outcome is Outcome.CREATED or "email_key" in decision.change.columns)
    }
    for external_id, entry in known.entries.items():
        if entry.state is LedgerState.WAITING and entry.email_key in taken:
            known.entries[external_id] = replace(entry, due=True)


async def _name_successors(imagined: Imagined, connection: Connection, released: set[str]) -> None:
    """An address that nobody holds any more goes to the next record in line (R6)."""
    known = imagined.known
    free = [email_key for email_key in released if email_key not in known.holders]
    if not free:
        return
    in_line = [external_id for external_id, entry in known.entries.items() if _is_in_line(entry, free)]
    rows = await connection.fetch(
        "SELECT external_id FROM ledger WHERE account_id = $1 AND automatic_import_id = $2"
        " AND (code = 'DUPLICATE_EMAIL' AND email_key = ANY($3::text[])"
        "     OR external_id = ANY($4::text[]) AND NOT ($5 AND state = 'WAITING')) ORDER BY position",
        imagined.turn.account_id, imagined.turn.automatic_import_id, free, in_line, imagined.starts_over,
    )  # fmt: skip
    stored = [row["external_id"] for row in rows]
    await _learn_items(imagined, connection, stored)
    first: dict[str, str] = {}
    for external_id in dict.fromkeys([*stored, *imagined.items]):
        entry = known.entries.get(external_id)
        if entry is not None and entry.email_key is not None and _is_in_line(entry, free):
            first.setdefault(entry.email_key, external_id)
    for external_id in first.values():
        known.entries[external_id] = replace(known.entries[external_id], due=True)


def _is_in_line(entry: Entry, email_keys: Collection[str]) -> bool:
    return entry.code is OutcomeCode.DUPLICATE_EMAIL and entry.email_key in email_keys
