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
from domain.ingest.rules import Rules
from domain.previews.kept import EXACT_RECORDS
from domain.previews.line import Line
from domain.records import FieldSpec
from domain.turns import Turn


@dataclass(slots=True, kw_only=True)
class Imagined:
    """One import's records: `known` grows with everything that is read and decided, `items` are those as last seen.

    `starts_over`: its own records leave the waiting room first, because its criteria change. `line` is the account's
    waiting room, `tags` the personalization tags in use. `reading` has the targets to be read of each contact, which
    are those of all that share `known`'s contacts: `others` are the other imports in line.
    """

    turn: Turn
    known: Known
    line: Line
    reading: Rules
    starts_over: bool = False
    tags: set[str] = field(default_factory=set)
    made: dict[str, FieldToMake] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    others: Sequence["Imagined"] = ()

    @property
    def peers(self) -> Sequence["Imagined"]:
        """The others of the external account."""
        here = self.turn.external_account_id
        return [other for other in self.others if other.turn.external_account_id == here]

    def forget(self) -> None:
        """Drop all that grows with the records; what is left is exact for each page by itself."""
        self.known = Known(rules=self.known.rules, entries={}, siblings={}, fields=self.known.fields)
        self.items, self.others = {}, ()
        self.line.forget()


async def decide(
    imagined: Imagined, items: Sequence[Item], specs: Mapping[str, FieldSpec], *, draining: bool = False
) -> Plan:
    """What becomes of `items`, at most 500 with distinct ids; whatever comes later sees what they did.

    `draining`: they are those whose turn it is in the waiting room.
    """
    known, line = imagined.known, imagined.line
    async with reading() as connection:
        await learn_entries(imagined, connection, [item.external_id for item in items])
        news = [item for item in items if not _is_seen(item, known.entries.get(item.external_id))]
        await _make_fields(imagined, connection, news, specs)
        changed = [item for item in items if not is_repeated(item, known.entries.get(item.external_id))]
        loaded = await load(
            connection, imagined.turn, imagined.reading, changed,
            entries=known.entries, siblings=known.siblings, fields=known.fields, lock=False, lock_account=False,
        )  # fmt: skip
        learn(known, loaded)
        # Room is what the line leaves to whoever is new: those in it come first.
        known.draining = draining
        known.room, known.queued = (line.free, True) if draining else (line.free - line.ahead, line.ahead > 0)
        # Every record costs one at most: nothing is cut.
        decided = plan(items, known, allowance=len(items))
        line.active += decided.active_delta
        for decision in decided.decisions:
            _keep(imagined, decision)
        if known.queued or decided.held_back:
            await _tell_waiting(imagined, connection, decided.decisions)
        await name_successors(imagined, connection, set(decided.released.values()))
    return decided


async def decide_due(imagined: Imagined, *, limit: int) -> Plan | None:
    """What becomes of records that are due, None where none is: the engine, too, ingests them before it reads on."""
    due = [external_id for external_id, entry in imagined.known.entries.items() if entry.due]
    if len(due) > 1:
        due = await _in_order(imagined, due)
    items = [replace(imagined.items[external_id], forced=True) for external_id in due[:limit]]
    return await decide(imagined, items, {}) if items else None


async def _in_order(imagined: Imagined, external_ids: Sequence[str]) -> list[str]:
    """As they are in the ledger; those that are new come last."""
    async with reading() as connection:
        rows = await connection.fetch(
            "SELECT external_id FROM ledger WHERE account_id = $1 AND automatic_import_id = $2"
            " AND external_id = ANY($3::text[]) AND NOT ($4 AND state = 'WAITING') ORDER BY position",
            imagined.turn.account_id, imagined.turn.automatic_import_id, external_ids, imagined.starts_over,
        )  # fmt: skip
    return list(dict.fromkeys([*(row["external_id"] for row in rows), *external_ids]))


async def learn_due(imagined: Imagined) -> bool:
    """The records of the ledger that are due already, as many as are remembered. Returns whether these are all."""
    async with reading() as connection:
        rows = await connection.fetch(
            "SELECT external_id FROM ledger WHERE account_id = $1 AND automatic_import_id = $2 AND due"
            " ORDER BY position LIMIT $3",
            imagined.turn.account_id, imagined.turn.automatic_import_id, EXACT_RECORDS + 1,
        )  # fmt: skip
        await learn_items(imagined, connection, [row["external_id"] for row in rows[:EXACT_RECORDS]])
    return len(rows) <= EXACT_RECORDS


@asynccontextmanager
async def reading() -> AsyncIterator[Connection]:
    """A transaction in which PostgreSQL itself refuses to write, and to lock a row."""
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


def _is_seen(item: Item, entry: Entry | None) -> bool:
    return item.forced or (entry is not None and entry.digest == item.digest)


async def learn_entries(imagined: Imagined, connection: Connection, external_ids: Sequence[str]) -> None:
    """The ledger rows of these records, as far as nothing is known yet that would have changed them."""
    known = imagined.known
    unknown = [external_id for external_id in external_ids if external_id not in imagined.items]
    entries, siblings = await load_entries(connection, imagined.turn, unknown)
    for external_id, entry in entries.items():
        if not imagined.starts_over or entry.code is not OutcomeCode.CONTACT_LIMIT:
            known.entries.setdefault(external_id, entry)
        elif entry.state is not LedgerState.WAITING:
            # A confirmation that was held back is decided anew.
            known.entries.setdefault(external_id, replace(entry, code=None, digest=b""))
    known.siblings |= siblings
    for peer in imagined.peers:
        for external_id in external_ids:
            if external_id in peer.known.entries:
                _learn_sibling(known, peer.known.entries[external_id])


def _learn_sibling(known: Known, entry: Entry) -> None:
    """Where several imports know a record, the one made last is the sibling."""
    sibling = known.siblings.get(entry.external_id)
    if sibling is not None and sibling.automatic_import_id > entry.automatic_import_id:
        return
    if entry.state is LedgerState.LINKED:
        known.siblings[entry.external_id] = entry
    elif sibling is not None and sibling.automatic_import_id == entry.automatic_import_id:
        del known.siblings[entry.external_id]


async def learn_items(imagined: Imagined, connection: Connection, external_ids: Sequence[str]) -> None:
    """The records of ledger rows, as last seen; those who wait leave the ledger where the import starts over."""
    rows = await connection.fetch(
        "SELECT external_id, record::text, digest FROM ledger WHERE account_id = $1 AND external_account_id = $2"
        " AND automatic_import_id = $3 AND external_id = ANY($4) AND NOT ($5 AND state = 'WAITING') ORDER BY position",
        imagined.turn.account_id, imagined.turn.external_account_id, imagined.turn.automatic_import_id, external_ids,
        imagined.starts_over,
    )  # fmt: skip
    await learn_entries(imagined, connection, [row["external_id"] for row in rows])
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
    for other in imagined.others:
        here, import_id = other.turn.external_account_id, other.turn.automatic_import_id
        imagined.line.confirm(
            [(import_id, external_id) for external_account_id, external_id in firsts if external_account_id == here]
        )
    ids = [external_id for where, external_id in firsts if where == turn.external_account_id]
    await learn_items(imagined, connection, ids)
    for external_id in ids:
        entry = known.entries.get(external_id)
        if entry is not None and entry.state is LedgerState.LINKED and external_id in imagined.items:
            known.entries[external_id] = replace(entry, due=True)


def learn(known: Known, loaded: Known) -> None:
    """Add what was loaded, as far as nothing is known yet that would have changed it."""
    new = {contact_id: draft for contact_id, draft in loaded.contacts.items() if contact_id not in known.contacts}
    known.contacts |= new
    for draft in new.values():
        known.by_key.setdefault(draft.email_key, draft)
    known.targets |= {target for target in loaded.targets if target[0] in new}
    known.tombstones |= loaded.tombstones
    for address, status in loaded.suppressed.items():
        known.suppressed.setdefault(address, status)
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
    imagined.line.move(
        (imagined.turn.automatic_import_id, item.external_id),
        waited=before is not None and before.code is OutcomeCode.CONTACT_LIMIT,
        waits=decision.code is OutcomeCode.CONTACT_LIMIT,
        email_key=decision.email_key if decision.outcome is Outcome.WAITING else None,
    )
    contact = decision.contact
    if decision.gone_key is not None:
        known.tombstones.add(decision.gone_key)
    if contact is not None and decision.opts_out:
        known.suppressed[contact.email_key, None] = contact.status


async def _tell_waiting(imagined: Imagined, connection: Connection, decisions: Sequence[Decision]) -> None:
    """Whoever waits under an address that now has a contact is ingested once more."""
    taken = {
        decision.contact.email_key
        for decision in decisions
        if decision.contact is not None
        and (decision.outcome is Outcome.CREATED or "email_key" in decision.change.columns)
    }
    known, import_id = imagined.known, imagined.turn.automatic_import_id
    called = [external_id for called_import, external_id in imagined.line.call(taken) if called_import == import_id]
    await learn_items(imagined, connection, called)
    due = [
        external_id
        for external_id, entry in known.entries.items()
        if entry.state is LedgerState.WAITING and entry.email_key in taken
    ]
    # Whoever came again just as they wait may stand behind those who are remembered in line.
    await learn_items(imagined, connection, due)
    for external_id in due:
        known.entries[external_id] = replace(known.entries[external_id], due=True)


async def name_successors(imagined: Imagined, connection: Connection, released: set[str]) -> None:
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
    await learn_items(imagined, connection, stored)
    first: dict[str, str] = {}
    for external_id in dict.fromkeys([*stored, *imagined.items]):
        entry = known.entries.get(external_id)
        if entry is not None and entry.email_key is not None and _is_in_line(entry, free):
            first.setdefault(entry.email_key, external_id)
    for external_id in first.values():
        known.entries[external_id] = replace(known.entries[external_id], due=True)


def _is_in_line(entry: Entry, email_keys: Collection[str]) -> bool:
    return entry.code is OutcomeCode.DUPLICATE_EMAIL and entry.email_key in email_keys
